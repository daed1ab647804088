"""How long training takes from process start to a test accuracy, beside the same recipe in PyTorch."""
