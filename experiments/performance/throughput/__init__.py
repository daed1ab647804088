"""How fast a step of training is, beside default Flax, PyTorch and `torch.compile`, in alternating turns."""
