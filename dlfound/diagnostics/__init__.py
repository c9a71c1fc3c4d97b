"""What goes on inside a net, in numbers and in plain words; no drawing."""
