"""Residual blocks: basic and bottleneck, post- and pre-activation, with shortcuts A and B.

References: He et al. 2015, "Deep Residual Learning for Image Recognition" (blocks, shortcuts A and B);
He et al. 2016, "Identity Mappings in Deep Residual Networks" (pre-activation); Xie et al. 2017, "Aggregated
Residual Transformations" (groups); Zagoruyko and Komodakis 2016, "Wide Residual Networks" (width).
"""

import dataclasses

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.models.initialise import kaiming_normal_fan_out
from flaxcnn.models.layers import BatchNorm, Conv

Images = Float[Array, "n h w c"]
Features = Float[Array, "n _ _ _"]  # the same number of images, with another size and other channels
Mask = Bool[Array, " n"] | None


@dataclasses.dataclass(frozen=True)
class BlockOptions:
    """The options that all blocks of a network share."""

    groups: int = 1
    width_per_group: int = 64
    stride_on: str = "3x3"  # or 1x1
    shortcut: str = "B"  # or A
    zero_init_residual: bool = False


def convolution(
    inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1, rngs: nnx.Rngs
) -> Conv:
    """A convolution without bias that keeps the size at stride 1, initialised as torchvision's ResNets do."""
    return Conv(
        inputs,
        outputs,
        size,
        stride=stride,
        padding=size // 2,
        groups=groups,
        use_bias=False,
        initialise=kaiming_normal_fan_out,
        rngs=rngs,
    )


def subsample_and_pad(x: Images, stride: int, channels: int) -> Features:
    """Shortcut A: every `stride`-th pixel, and zeros for the channels that are new (He et al. 2015, 4.2)."""
    x = x[:, ::stride, ::stride, :]
    return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[-1])))


class Residual(nnx.Module):
    """The base of every block: a shortcut, projected (B) or padded (A) where the shape changes."""

    expansion = 1

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        stride: int,
        options: BlockOptions,
        normalised: bool,
        rngs: nnx.Rngs,
    ) -> None:
        self.stride = stride
        self.changes_shape = stride != 1 or inputs != outputs
        if self.changes_shape and options.shortcut == "B":
            projection = convolution(inputs, outputs, 1, stride=stride, rngs=rngs)
            # torchvision's `downsample` is Sequential(conv, bn); a pre-activation block has no norm there.
            self.downsample = nnx.List([projection, BatchNorm(outputs)] if normalised else [projection])
        else:
            self.downsample = None

    def shortcut(self, x: Images, channels: int, train: bool, mask: Mask) -> Features:
        """The identity, or its projection to the block's output shape of so many channels."""
        if not self.changes_shape:
            return x
        if self.downsample is None:
            return subsample_and_pad(x, self.stride, channels)
        x = self.downsample[0](x)
        return self.downsample[1](x, train=train, mask=mask) if len(self.downsample) > 1 else x


def _check_plain(block: str, options: BlockOptions) -> None:
    """Raise on an option that only bottlenecks have."""
    for option, only in (("groups", 1), ("width_per_group", 64), ("stride_on", "3x3")):
        if (value := getattr(options, option)) != only:
            raise InvalidArgument(
                f"{block} got {option}={value!r}; it knows only {only!r}: use a bottleneck network (50, 101 or 152 "
                "layers)."
            )


def _bottleneck_width(planes: int, options: BlockOptions) -> int:
    """The channels of the 3x3 convolution of a bottleneck."""
    width = planes * options.width_per_group // 64 * options.groups
    if width < 1:
        raise InvalidArgument(
            f"A bottleneck of {planes} planes with width_per_group={options.width_per_group} has no channel; choose "
            "a larger width_per_group."
        )
    return width


class BasicBlock(Residual):
    """Two 3x3 convolutions: conv-bn-relu-conv-bn, add, relu."""

    def __init__(
        self, inputs: int, planes: int, *, stride: int = 1, options: BlockOptions, rngs: nnx.Rngs
    ) -> None:
        _check_plain("BasicBlock", options)
        scale = 0.0 if options.zero_init_residual else 1.0
        self.conv1 = convolution(inputs, planes, 3, stride=stride, rngs=rngs)
        self.bn1 = BatchNorm(planes)
        self.conv2 = convolution(planes, planes, 3, rngs=rngs)
        self.bn2 = BatchNorm(planes, initial_scale=scale)
        super().__init__(inputs, planes, stride=stride, options=options, normalised=True, rngs=rngs)

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the block."""
        y = ops.relu(self.bn1(self.conv1(x), train=train, mask=mask))
        y = self.bn2(self.conv2(y), train=train, mask=mask)
        return ops.relu(y + self.shortcut(x, y.shape[-1], train, mask))


class Bottleneck(Residual):
    """1x1, 3x3, 1x1 convolutions; the stride sits on the 3x3 (v1.5, torchvision) or on the first 1x1 (v1)."""

    expansion = 4

    def __init__(
        self, inputs: int, planes: int, *, stride: int = 1, options: BlockOptions, rngs: nnx.Rngs
    ) -> None:
        width = _bottleneck_width(planes, options)
        outputs = planes * self.expansion
        first, second = (stride, 1) if options.stride_on == "1x1" else (1, stride)
        scale = 0.0 if options.zero_init_residual else 1.0
        self.conv1 = convolution(inputs, width, 1, stride=first, rngs=rngs)
        self.bn1 = BatchNorm(width)
        self.conv2 = convolution(width, width, 3, stride=second, groups=options.groups, rngs=rngs)
        self.bn2 = BatchNorm(width)
        self.conv3 = convolution(width, outputs, 1, rngs=rngs)
        self.bn3 = BatchNorm(outputs, initial_scale=scale)
        super().__init__(inputs, outputs, stride=stride, options=options, normalised=True, rngs=rngs)

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the block."""
        y = ops.relu(self.bn1(self.conv1(x), train=train, mask=mask))
        y = ops.relu(self.bn2(self.conv2(y), train=train, mask=mask))
        y = self.bn3(self.conv3(y), train=train, mask=mask)
        return ops.relu(y + self.shortcut(x, y.shape[-1], train, mask))


class PreActivationBasicBlock(Residual):
    """bn-relu-conv twice, then add; where the shape changes, the projection gets the activated input."""

    def __init__(
        self, inputs: int, planes: int, *, stride: int = 1, options: BlockOptions, rngs: nnx.Rngs
    ) -> None:
        _check_plain("PreActivationBasicBlock", options)
        self.bn1 = BatchNorm(inputs)
        self.conv1 = convolution(inputs, planes, 3, stride=stride, rngs=rngs)
        self.bn2 = BatchNorm(planes)
        self.conv2 = convolution(planes, planes, 3, rngs=rngs)
        super().__init__(inputs, planes, stride=stride, options=options, normalised=False, rngs=rngs)

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the block."""
        activated = ops.relu(self.bn1(x, train=train, mask=mask))
        y = self.conv1(activated)
        y = self.conv2(ops.relu(self.bn2(y, train=train, mask=mask)))
        return y + self.shortcut(activated if self.changes_shape else x, y.shape[-1], train, mask)


class PreActivationBottleneck(Residual):
    """bn-relu-conv three times (1x1, 3x3, 1x1), then add."""

    expansion = 4

    def __init__(
        self, inputs: int, planes: int, *, stride: int = 1, options: BlockOptions, rngs: nnx.Rngs
    ) -> None:
        width = _bottleneck_width(planes, options)
        outputs = planes * self.expansion
        first, second = (stride, 1) if options.stride_on == "1x1" else (1, stride)
        self.bn1 = BatchNorm(inputs)
        self.conv1 = convolution(inputs, width, 1, stride=first, rngs=rngs)
        self.bn2 = BatchNorm(width)
        self.conv2 = convolution(width, width, 3, stride=second, groups=options.groups, rngs=rngs)
        self.bn3 = BatchNorm(width)
        self.conv3 = convolution(width, outputs, 1, rngs=rngs)
        super().__init__(inputs, outputs, stride=stride, options=options, normalised=False, rngs=rngs)

    def __call__(self, x: Images, *, train: bool = False, mask: Mask = None) -> Features:
        """Apply the block."""
        activated = ops.relu(self.bn1(x, train=train, mask=mask))
        y = self.conv1(activated)
        y = self.conv2(ops.relu(self.bn2(y, train=train, mask=mask)))
        y = self.conv3(ops.relu(self.bn3(y, train=train, mask=mask)))
        return y + self.shortcut(activated if self.changes_shape else x, y.shape[-1], train, mask)
