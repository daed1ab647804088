"""Which is which: modules, calls, weights and layouts of the two sides."""
