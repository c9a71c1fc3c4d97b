"""The ten checks of `dlfound check`, which share one context and one result type."""

NAMES = (
    "data",
    "gradients",
    "initial_loss",
    "initial_state",
    "overfit",
    "inputs",
    "rows",
    "learning_rate",
    "updates",
    "determinism",
)
"""The names of the checks in the order in which they run. Importing them from here loads no torch."""
