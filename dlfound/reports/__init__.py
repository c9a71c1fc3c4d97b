"""Pictures made from a run's or a sweep's files. Knows no model and no loop."""
