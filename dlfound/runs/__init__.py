"""One training from start to end: its state, its folder, checkpoints, resume, predictions."""
