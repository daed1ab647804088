"""The convolution engine of the CPU: the choice of a rule for each convolution, and the rules."""
