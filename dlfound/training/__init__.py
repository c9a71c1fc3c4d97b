"""Training: the step, the loop that repeats it, and what is measured."""
