"""Which convention explains a divergence, a family of layers a file."""
