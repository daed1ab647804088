"""Residual networks of any depth, width, stem and block, under torchvision's parameter names.

Reference: He et al. 2015, "Deep Residual Learning for Image Recognition", https://arxiv.org/abs/1512.03385.
"""

from collections.abc import Sequence

from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.models.blocks import (
    BlockOptions,
    PreActivationBasicBlock,
    PreActivationBottleneck,
    Residual,
    convolution,
)
from flaxcnn.models.layers import BatchNorm, Dense, Dropout

# Kernel size, stride, and whether a 3x3 max pool of stride 2 follows.
STEMS: dict[str, tuple[int, int, bool]] = {
    "imagenet": (7, 2, True),
    "cifar": (3, 1, False),
    "plain": (3, 2, False),
}


class ResNet(nnx.Module):
    """A residual network: stem, stages `layer1`, `layer2`, ..., global average pool, `fc`.

    Args:
        block: the block class, see `flaxcnn.models.blocks`.
        depths: number of blocks of each stage; the first block of every stage but the first has stride 2.
        widths: `planes` of each stage; the output of a bottleneck has four times as many channels.
        num_classes: size of the logits.
        in_channels: channels of the input images, any number.
        stem: `imagenet` (7x7, stride 2, max pool), `cifar` (3x3, stride 1) or `plain` (3x3, stride 2).
        stem_width: channels of the stem; `widths[0]` by default.
        groups, width_per_group: those of the 3x3 convolution of a bottleneck (ResNeXt, Wide ResNet).
        stride_on: the strided convolution of a bottleneck: `3x3` (v1.5, torchvision's) or `1x1` (v1, the paper's).
        shortcut: `B` projects where the shape changes, `A` subsamples and pads with zeros.
        zero_init_residual: start with the last scale of every block at zero (Goyal et al. 2017).
        dropout: probability of dropping a pooled feature before `fc`.
        rngs: the source of the initial weights.

    Raises:
        InvalidArgument: an option that is unknown or does not fit the block.
    """

    def __init__(
        self,
        block: type[Residual],
        depths: Sequence[int],
        widths: Sequence[int] = (64, 128, 256, 512),
        *,
        num_classes: int = 1000,
        in_channels: int = 3,
        stem: str = "imagenet",
        stem_width: int | None = None,
        groups: int = 1,
        width_per_group: int = 64,
        stride_on: str = "3x3",
        shortcut: str = "B",
        zero_init_residual: bool = False,
        dropout: float = 0.0,
        rngs: nnx.Rngs,
    ) -> None:
        _check_choice("stem", stem, tuple(STEMS))
        _check_choice("stride_on", stride_on, ("3x3", "1x1"))
        _check_choice("shortcut", shortcut, ("A", "B"))
        options = BlockOptions(groups, width_per_group, stride_on, shortcut, zero_init_residual)
        self.pre_activation = issubclass(block, PreActivationBasicBlock | PreActivationBottleneck)
        if self.pre_activation and zero_init_residual:
            raise InvalidArgument(
                "zero_init_residual=True was given for a pre-activation network, whose blocks end in a "
                "convolution and have no last scale; leave it False."
            )
        if len(widths) != len(depths):
            raise InvalidArgument(
                f"ResNet got {len(widths)} widths for {len(depths)} stages; give one for each stage."
            )
        channels = widths[0] if stem_width is None else stem_width
        outputs = [channels, *(planes * block.expansion for planes in widths)]
        if shortcut == "A" and outputs != sorted(outputs):
            raise InvalidArgument(
                f"ResNet got shortcut='A', which can only add channels, for {outputs} channels after the stem and "
                "the stages; let them not fall, or choose shortcut='B'."
            )
        size, stride, self.stem_pool = STEMS[stem]
        self.conv1 = convolution(in_channels, channels, size, stride=stride, rngs=rngs)
        if not self.pre_activation:
            self.bn1 = BatchNorm(channels)
        self.stages = len(depths)
        for index, (depth, planes) in enumerate(zip(depths, widths, strict=True)):
            stage = []
            for position in range(depth):
                stride = 2 if index > 0 and position == 0 else 1
                stage.append(block(channels, planes, stride=stride, options=options, rngs=rngs))
                channels = planes * block.expansion
            setattr(self, f"layer{index + 1}", nnx.List(stage))
        if self.pre_activation:
            self.bn = BatchNorm(channels)
        self.dropout = Dropout(dropout)
        self.fc = Dense(channels, num_classes, rngs=rngs)

    def __call__(
        self,
        x: Float[Array, "n h w c"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        mask: Bool[Array, " n"] | None = None,
    ) -> Float[Array, "n k"]:
        """Logits of a batch of images of any size.

        `train` normalises by batch statistics (of the rows that `mask` keeps), updates the running ones and
        drops features; `key` is needed only with dropout.
        """
        x = self.features(x, train=train, mask=mask)[-1][1]
        x = ops.adaptive_avg_pool2d(x, 1).reshape(x.shape[0], x.shape[-1])
        return self.fc(self.dropout(x, train=train, key=key))

    def features(
        self, x: Float[Array, "n h w c"], *, train: bool = False, mask: Bool[Array, " n"] | None = None
    ) -> list[tuple[str, Float[Array, "n _ _ _"]]]:
        """The activations after the stem and after every stage, with their names, in order."""
        x = self.conv1(x)
        if not self.pre_activation:
            x = ops.relu(self.bn1(x, train=train, mask=mask))
        if self.stem_pool:
            x = ops.max_pool2d(x, 3, stride=2, padding=1)
        activations = [("stem", x)]
        for index in range(self.stages):
            for block in getattr(self, f"layer{index + 1}"):
                x = block(x, train=train, mask=mask)
            activations.append((f"layer{index + 1}", x))
        if self.pre_activation:
            activations.append(("bn", ops.relu(self.bn(x, train=train, mask=mask))))
        return activations


def _check_choice(option: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InvalidArgument(f"ResNet got {option}={value!r}; expected one of {', '.join(choices)}.")
