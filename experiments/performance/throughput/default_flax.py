"""The same networks as a user of Flax writes them: `nnx.Conv`, `nnx.BatchNorm`, nothing of `flaxcnn`."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Images = Float[Array, "n h w c"]


def _conv(inputs: int, outputs: int, size: int, stride: int, rngs: nnx.Rngs) -> nnx.Conv:
    side = (size // 2, size // 2)
    return nnx.Conv(inputs, outputs, (size, size), stride, padding=(side, side), use_bias=False, rngs=rngs)


def _norm(channels: int, rngs: nnx.Rngs) -> nnx.BatchNorm:
    return nnx.BatchNorm(channels, momentum=0.9, rngs=rngs)


class Block(nnx.Module):
    """A residual block: convolutions of (kernel, stride), each with its norm, and a shortcut."""

    def __init__(
        self, inputs: int, widths: Sequence[int], kernels: Sequence[tuple[int, int]], rngs: nnx.Rngs
    ) -> None:
        sizes = [inputs, *widths]
        self.convs = nnx.List(
            [_conv(a, b, *kernel, rngs) for a, b, kernel in zip(sizes, widths, kernels, strict=False)]
        )
        self.norms = nnx.List([_norm(width, rngs) for width in widths])
        stride = max(stride for _, stride in kernels)
        changes = stride > 1 or inputs != widths[-1]
        self.projection = _conv(inputs, widths[-1], 1, stride, rngs) if changes else None
        self.projection_norm = _norm(widths[-1], rngs) if changes else None

    def __call__(self, x: Images) -> Float[Array, "n _ _ _"]:
        """Apply the block."""
        y, last = x, len(self.convs) - 1
        for index, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y))
            y = y if index == last else nnx.relu(y)
        if self.projection is not None:
            x = self.projection_norm(self.projection(x))
        return nnx.relu(x + y)


class ResNet(nnx.Module):
    """ResNet-18 or -50, with the stem for small images or the one for large."""

    def __init__(
        self, depths: Sequence[int], *, bottleneck: bool, small: bool, classes: int, rngs: nnx.Rngs
    ) -> None:
        self.stem = _conv(3, 64, 3, 1, rngs) if small else _conv(3, 64, 7, 2, rngs)
        self.stem_norm, self.small = _norm(64, rngs), small
        blocks, channels = [], 64
        for stage, depth in enumerate(depths):
            planes = 64 * 2**stage
            for position in range(depth):
                stride = 2 if stage and not position else 1
                widths = (planes, planes, 4 * planes) if bottleneck else (planes, planes)
                kernels = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
                blocks.append(Block(channels, widths, kernels, rngs))
                channels = widths[-1]
        self.blocks = nnx.List(blocks)
        self.head = nnx.Linear(channels, classes, rngs=rngs)

    def __call__(self, x: Images) -> Float[Array, "n k"]:
        """Logits."""
        x = nnx.relu(self.stem_norm(self.stem(x)))
        if not self.small:
            x = nnx.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(x, axis=(1, 2)))


class CNN(nnx.Module):
    """Two convolutions with pools, a hidden layer, dropout, a head."""

    def __init__(self, *, classes: int, size: int, rngs: nnx.Rngs) -> None:
        self.conv1 = nnx.Conv(1, 32, (3, 3), padding=1, rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), padding=1, rngs=rngs)
        self.hidden = nnx.Linear(64 * (size // 4) ** 2, 128, rngs=rngs)
        self.dropout = nnx.Dropout(0.25, rngs=rngs)
        self.head = nnx.Linear(128, classes, rngs=rngs)

    def __call__(self, x: Images) -> Float[Array, "n k"]:
        """Logits."""
        for conv in (self.conv1, self.conv2):
            x = nnx.max_pool(nnx.relu(conv(x)), (2, 2), (2, 2))
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(self.dropout(x))


BUILDERS: dict[str, Callable[[int], nnx.Module]] = {
    "resnet18": lambda size: ResNet((2, 2, 2, 2), bottleneck=False, small=True, classes=10, rngs=nnx.Rngs(0)),
    "resnet34": lambda size: ResNet((3, 4, 6, 3), bottleneck=False, small=True, classes=10, rngs=nnx.Rngs(0)),
    "resnet50": lambda size: ResNet((3, 4, 6, 3), bottleneck=True, small=False, classes=10, rngs=nnx.Rngs(0)),
    "cnn": lambda size: CNN(classes=10, size=size, rngs=nnx.Rngs(0)),
}


def parts(name: str, size: int) -> tuple[nnx.GraphDef, nnx.State, nnx.State]:
    """(graph, parameters, everything else) of a network."""
    return nnx.split(BUILDERS[name](size), nnx.Param, ...)


def logits(
    graph: nnx.GraphDef, params: nnx.State, rest: nnx.State, images: jax.Array, train: bool
) -> tuple[jax.Array, nnx.State]:
    """The logits of a batch and the state after it."""
    model = nnx.merge(graph, params, rest, copy=True)
    model.set_attributes(use_running_average=not train, deterministic=not train, raise_if_not_found=False)
    out = model(images)
    return out, nnx.state(model, nnx.Not(nnx.Param))
