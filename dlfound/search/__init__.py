"""The search for settings: a space into trials, by Optuna, in a storage that many processes share."""
