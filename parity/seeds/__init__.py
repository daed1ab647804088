"""Final accuracies over many seeds, and whether two ways to train are equivalent."""
