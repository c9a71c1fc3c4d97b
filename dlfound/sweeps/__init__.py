"""Search for settings: the space, the samplers (Optuna), the trials, the workers and the results."""
