"""The cost of training and of checking."""
