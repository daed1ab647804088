"""Time from process start to a test accuracy: flaxcnn and PyTorch train the same recipe."""
