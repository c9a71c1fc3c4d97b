"""The objective: mean loss over examples + lambda * omega(weights), and constraints on the weights."""
