"""The ten checks of `dlfound check`: one file each, one context, one result type."""

NAMES = (
    "data", "gradients", "initial_loss", "initial_state", "overfit", "inputs", "rows", "learning_rate", "updates",
    "determinism",
)  # fmt: skip
"""The checks, in the order in which they are made; here so that nothing heavy is imported for a wrong name."""
