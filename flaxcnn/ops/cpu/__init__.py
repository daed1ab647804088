"""The convolution engine of the CPU: which of several ways computes a convolution, and how each does."""
