"""The objective: mean loss over the examples + lambda * omega(weights); constraints on the weights."""
