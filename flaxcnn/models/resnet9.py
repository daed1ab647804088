"""A network of few, wide layers for fast training: single convolutions with pools, few residual branches.

References: Page 2018, "How to train your ResNet" (the network that won DAWNBench on CIFAR-10), part 8 for the pool
before the batch norm; Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU" (maximum at the end).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.models.blocks import convolution
from flaxcnn.models.layers import BatchNorm, Dense

Images = Float[Array, "n h w c"]
Features = Float[Array, "n _ _ _"]
Mask = Bool[Array, " n"] | None


class Unit(nnx.Module):
    """3x3 convolution, 2x2 maximum pool where asked, batch norm, relu.

    The pool comes before the norm, which then has a quarter of the work.
    """

    def __init__(self, inputs: int, outputs: int, *, pool: bool = False, rngs: nnx.Rngs) -> None:
        self.conv = convolution(inputs, outputs, 3, rngs=rngs)
        self.bn = BatchNorm(outputs)
        self.pool = pool

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the unit."""
        x = self.conv(x)
        if self.pool:
            x = ops.max_pool2d(x, 2)
        return ops.relu(self.bn(x, train=train, mask=mask))


class Stage(nnx.Module):
    """A unit, whose output is added to that of a branch of units with the same width."""

    def __init__(self, inputs: int, outputs: int, *, pool: bool, branch: int, rngs: nnx.Rngs) -> None:
        self.unit = Unit(inputs, outputs, pool=pool, rngs=rngs)
        self.branch = nnx.List([Unit(outputs, outputs, rngs=rngs) for _ in range(branch)])

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the stage."""
        x = y = self.unit(x, train=train, mask=mask)
        for unit in self.branch:
            y = unit(y, train=train, mask=mask)
        return x + y if len(self.branch) else x


class ResNet9(nnx.Module):
    """Stages of one unit with an optional residual branch, then a global maximum, `fc` and smaller logits.

    Args:
        num_classes: size of the logits.
        in_channels: channels of the input images.
        widths: channels of each stage.
        pools: for each stage, whether its unit halves the size.
        branches: for each stage, the units of its residual branch; 0 for none.
        logit_scale: the factor of the logits, which keeps the first losses small.
        rngs: the source of the initial weights, which follow torchvision's ResNets.

    Raises:
        InvalidArgument: the options do not describe the same number of stages.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 3,
        widths: Sequence[int] = (64, 128, 256, 512),
        pools: Sequence[bool] = (False, True, True, True),
        branches: Sequence[int] = (0, 2, 0, 2),
        logit_scale: float = 0.125,
        rngs: nnx.Rngs,
    ) -> None:
        if not 0 < len(widths) == len(pools) == len(branches):
            raise InvalidArgument(
                f"ResNet9 got {len(widths)} widths, {len(pools)} pools and {len(branches)} branches; "
                "give one of each for every stage."
            )
        channels, stages = in_channels, []
        for width, pool, branch in zip(widths, pools, branches, strict=True):
            stages.append(Stage(channels, width, pool=pool, branch=branch, rngs=rngs))
            channels = width
        self.stages = nnx.List(stages)
        self.fc = Dense(channels, num_classes, rngs=rngs)
        self.logit_scale = logit_scale

    def __call__(
        self, x: Images, *, train: bool = False, key: Key[Array, ""] | None = None, mask: Mask = None
    ) -> Float[Array, "n k"]:
        """Logits of a batch of images; the pools must leave at least one pixel. `key` is not used."""
        x = self.features(x, train=train, mask=mask)[-1][1]
        return self.fc(jnp.max(x, axis=(1, 2))) * jnp.asarray(self.logit_scale, x.dtype)

    def features(
        self, x: Images, *, train: bool = False, mask: Mask = None
    ) -> list[tuple[str, Float[Array, "n _ _ _"]]]:
        """The activations after every stage, with their names, in order."""
        activations = []
        for index, stage in enumerate(self.stages):
            x = stage(x, train=train, mask=mask)
            activations.append((f"stage{index + 1}", x))
        return activations
