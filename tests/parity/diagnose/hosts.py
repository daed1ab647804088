"""Small pairs of models in which one defect at a time (or two) is planted by a keyword of the Flax side."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

ONE = ((1, 1), (1, 1))


class TorchBlock(nn.Module):
    """A bottleneck with a grouped convolution, a stride in its 3x3, and a projected shortcut."""

    def __init__(self, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(4, 4, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.conv2 = nn.Conv2d(4, 4, 3, stride=stride, padding=1, groups=2)
        self.bn2 = nn.BatchNorm2d(4)
        self.down = nn.Conv2d(4, 4, 1, stride=stride) if stride > 1 else None

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.down is None else self.down(x)))


class TorchResidual(nn.Module):
    """A stem with max pooling, two blocks, average pooling, GELU and a linear head."""

    def __init__(self, ceil=False):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.pool = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
        self.block1 = TorchBlock(1)
        self.block2 = TorchBlock(2)
        self.last = nn.Conv2d(4, 5, 3, dilation=2, padding=2)
        self.fc = nn.Linear(5, 5)
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        x = self.block2(self.block1(self.pool(self.stem(x))))
        x = F.gelu(self.last(F.avg_pool2d(x, 3, 1, 1)))
        return self.out(torch.tanh(self.fc(x.mean((2, 3)))))


class TurnedConv(nnx.Conv):
    """A convolution that reads its kernel otherwise: "turned", "flipped", "swapped", "interleaved"."""

    reading = ""

    def __call__(self, x):
        kernel = self.kernel[...]
        if self.reading == "turned":
            kernel = kernel.swapaxes(0, 1)
        if self.reading == "flipped":
            kernel = kernel[::-1, ::-1]
        if self.reading == "swapped":
            kernel = kernel.swapaxes(2, 3)
        if self.reading == "interleaved":
            o = kernel.shape[-1]
            kernel = kernel.reshape(*kernel.shape[:-1], 2, o // 2).swapaxes(-1, -2).reshape(kernel.shape)
        copy = nnx.clone(self)
        copy.kernel[...] = kernel
        return nnx.Conv.__call__(copy, x)


class NnxBlock(nnx.Module):
    def __init__(self, stride, rngs, options):
        self.options, two = options, stride > 1
        first, second = (stride, 1) if options.get("v1") else (1, stride)
        reading = options.get("reading", "")
        self.conv1 = TurnedConv(4, 4, (1, 1), strides=first, use_bias=False, rngs=rngs)
        self.conv1.reading = reading if reading == "swapped" else ""
        self.bn1 = nnx.BatchNorm(
            4, momentum=options.get("momentum", 0.9), epsilon=options.get("epsilon", 1e-5), rngs=rngs
        )
        self.conv2 = TurnedConv(
            4,
            4,
            (3, 3),
            strides=1 if options.get("no_stride") else second,
            padding=options.get("padding", ONE) if two else ONE,
            feature_group_count=2,
            use_bias=options.get("bias", True) or not two,
            rngs=rngs,
        )
        self.conv2.reading = reading if reading != "swapped" and two else ""
        self.bn2 = nnx.BatchNorm(4, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.down = (
            nnx.Conv(4, 4, (1, 1), strides=1 if options.get("no_stride") else stride, rngs=rngs)
            if two
            else None
        )

    def __call__(self, x):
        o = self.options
        mode = {} if o.get("mode") is None else {"use_running_average": o["mode"]}
        y = nnx.relu(self.bn1(self.conv1(x), **mode))
        y = self.bn2(self.conv2(y))
        x = x if self.down is None else self.down(x)
        residual = o.get("residual", "") if self.down is None else ""
        if residual == "missing":
            return nnx.relu(y)
        if residual == "order":
            return nnx.relu(y) + x
        if residual == "stopped":
            x = jax.lax.stop_gradient(x)
        return nnx.relu(y + x)


class NnxResidual(nnx.Module):
    """The twin of `TorchResidual`."""

    def __init__(self, **options):
        self.options, rngs = options, nnx.Rngs(0)
        self.stem = nnx.Conv(3, 4, (3, 3), padding=ONE, rngs=rngs)
        self.block1, self.block2 = NnxBlock(1, rngs, options), NnxBlock(2, rngs, options)
        self.last = nnx.Conv(
            4,
            5,
            (3, 3),
            kernel_dilation=1 if options.get("no_dilation") else 2,
            padding=((2, 2), (2, 2)),
            rngs=rngs,
        )
        self.fc, self.out = nnx.Linear(5, 5, rngs=rngs), nnx.Linear(5, 3, rngs=rngs)

    def _pool(self, x):
        o = self.options
        if o.get("pool") == "zeros":
            x = jnp.pad(x, ((0, 0), *ONE, (0, 0)))
            return nnx.max_pool(x, (3, 3), (2, 2))
        return nnx.max_pool(x, (3, 3), (2, 2), "SAME" if o.get("pool") == "side" else ONE)

    def __call__(self, x):
        o = self.options
        x = x[..., ::-1] if o.get("bgr") else x
        x = x * 2.0 - 0.5 if o.get("normalise") else x
        x = self.block2(self.block1(self._pool(self.stem(x))))
        x = nnx.avg_pool(x, (3, 3), (1, 1), ONE, count_include_pad=o.get("counted", True))
        x = nnx.gelu(self.last(x), approximate=o.get("approximate", False))
        x = o.get("activation", jnp.tanh)(self.fc(x.mean((1, 2))))
        x = self.out(x)
        return nnx.softmax(x) if o.get("softmax") else x


class TorchOdd(nn.Module):
    """Layer norm, group norm, a transposed convolution, resizing, a standard deviation, dropout, a flatten."""

    def __init__(self):
        super().__init__()
        self.gn = nn.GroupNorm(2, 4)
        self.up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1, output_padding=1)
        self.mix = nn.Conv2d(8, 4, 3, padding=1)
        self.dropout = nn.Dropout(0.2)
        self.fc = nn.Linear(4 * 2 * 2, 6)
        self.side = nn.Linear(4, 6)
        self.ln = nn.LayerNorm(6)

    def forward(self, x):
        y = self.up(F.silu(self.gn(x)))
        large = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        y = F.relu(self.mix(torch.cat([large, y], 1)))
        small = self.dropout(F.avg_pool2d(y, 4))
        z = self.fc(torch.flatten(small, 1)) + self.side(torch.std(y, (2, 3)))
        return self.ln(z)


class LinenOdd(linen.Module):
    """The twin of `TorchOdd`; each field plants a defect."""

    epsilon: float = 1e-5
    groups: int = 2
    flipped: bool = False
    scale: bool = True
    corners: bool = False
    order: bool = False
    rate: float = 0.2
    ddof: int = 1
    flatten: str = "chw"
    nonsense: bool = False

    def setup(self):
        self.gn = linen.GroupNorm(num_groups=self.groups, epsilon=1e-5)
        self.up = linen.ConvTranspose(
            4, (3, 3), strides=(2, 2), padding=((1, 2), (1, 2)), transpose_kernel=True
        )
        self.mix = linen.Conv(4, (3, 3), padding=ONE)
        self.dropout = linen.Dropout(self.rate)
        self.fc, self.side = linen.Dense(6), linen.Dense(6)
        self.ln = linen.LayerNorm(epsilon=self.epsilon)

    def __call__(self, x, train):
        y = linen.silu(self.gn(x))
        y = self.up(y[:, ::-1])[:, ::-1] if self.flipped else self.up(y)
        n, h, w, c = x.shape
        large = _aligned(x) if self.corners else jax.image.resize(x, (n, 2 * h, 2 * w, c), "bilinear")
        parts = [y, large] if self.order else [large, y]
        y = linen.relu(self.mix(jnp.concatenate(parts, -1)))
        if self.nonsense:
            y = y + 0.1 * jnp.sin(7.0 * y) * jnp.arange(4, dtype=y.dtype)
        small = self.dropout(linen.avg_pool(y, (4, 4), (4, 4)), deterministic=not train)
        small = jnp.transpose(small, (0, 3, 1, 2)) if self.flatten == "chw" else small
        z = self.fc(small.reshape(n, -1)) + self.side(jnp.std(y, (1, 2), ddof=self.ddof))
        return self.ln(z)


def _aligned(x):
    """Bilinear resizing by two with the corners aligned."""
    for axis in (1, 2):
        size = x.shape[axis]
        at = jnp.arange(2 * size, dtype=x.dtype) * ((size - 1) / (2 * size - 1))
        low = jnp.clip(jnp.floor(at).astype(int), 0, size - 2)
        part = (at - low).reshape([-1 if a == axis else 1 for a in range(4)])
        x = jnp.take(x, low, axis) * (1 - part) + jnp.take(x, low + 1, axis) * part
    return x
