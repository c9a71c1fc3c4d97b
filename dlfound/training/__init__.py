"""Training: the step, the loop that repeats it, the metrics, and the look into the layers."""
