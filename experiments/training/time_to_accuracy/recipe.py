"""The recipe that both sides train. It imports nothing slow, because each side's clock runs from process start."""

import dataclasses

# The test accuracy that stops the clock.
TARGET = 0.935


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network and how it is trained on Fashion-MNIST.

    Attributes:
        widths, pools, branches, logit_scale: of the network, see `flaxcnn.models.resnet9`.
        epochs: passes over the 60,000 training images; the test images are classified after each.
        batch_size: images a step; it divides 60,000 and 10,000, so that all batches have one shape.
        learning_rate, warmup: the peak of the one-cycle schedule and the share of the run in which it rises.
        momentum: Nesterov's.
        weight_decay: of kernels and matrices; norms and biases are not decayed.
        label_smoothing: share of every label spread evenly over the classes.
        flip: mirror left and right with probability one half.
        crop_padding: pixels of zero padding before a random crop back to size.
    """

    widths: tuple[int, ...] = (16, 64, 128)
    pools: tuple[bool, ...] = (True, True, True)
    branches: tuple[int, ...] = (0, 2, 2)
    logit_scale: float = 0.25
    epochs: int = 10
    batch_size: int = 100
    learning_rate: float = 0.15
    warmup: float = 0.25
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.05
    flip: bool = True
    crop_padding: int = 1


RECIPE = Recipe()
