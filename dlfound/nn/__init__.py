"""Forward propagation: modules of torch.nn and what they are made from."""
