"""Public Flax implementations beside their PyTorch twins: what a check says of code that nobody wrote for it."""
