"""Optimisation: update rules, learning-rate decay, early stopping."""
