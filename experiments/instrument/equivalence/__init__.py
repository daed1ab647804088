"""Statistical equivalence on digits: flaxcnn against a plain PyTorch script, over seeds."""
