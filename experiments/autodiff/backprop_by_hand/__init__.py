"""Backpropagation, unveiled: the chain rule on one line, then a small CNN, by hand, by JAX and by PyTorch.

    python -m experiments.autodiff.backprop_by_hand [--out DIR]

Read `chain_rule.py` first, then `network.py` from top to bottom; or open the page that the command writes.
"""
