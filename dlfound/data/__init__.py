"""Data: one source a file or a function, the split, the schema. Everything ends as tensors."""
