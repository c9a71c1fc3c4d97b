"""Plots: files in, files out. Nothing here knows a net or a training."""
