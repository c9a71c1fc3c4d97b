"""Forward propagation: the torch.nn modules of a net, and the options that make them."""
