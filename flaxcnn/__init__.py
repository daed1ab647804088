"""flaxcnn: convolutional and residual networks in Flax, trained as pure functions.

Start at `flaxcnn.models` (the networks), `flaxcnn.functional` (a network as a pure function) and
`flaxcnn.train` (the jit-compiled step and the loop around it); `flaxcnn --help` is the command.
"""

__version__ = "0.1.0"
