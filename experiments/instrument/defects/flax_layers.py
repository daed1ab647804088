"""Layers of both Flax module styles with planted defects: they read their kernel in a wrong layout."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, nnx

from experiments.instrument.defects.flax_functions import Array

Statistics = tuple[Array, Array]


def read(kernel: Array, reading: str, groups: int) -> Array:
    """A kernel [..., in, out] in the layout of a wrong conversion."""
    if reading == "turned":
        return kernel.swapaxes(0, 1)
    if reading == "flipped":
        return kernel[::-1, ::-1]
    if reading == "swapped":
        return kernel.swapaxes(-1, -2)
    if reading == "interleaved":
        outputs = kernel.shape[-1]
        apart = kernel.reshape(*kernel.shape[:-1], groups, outputs // groups)
        return apart.swapaxes(-1, -2).reshape(kernel.shape)
    return kernel


class NnxConv(nnx.Conv):
    """A convolution that reads its kernel as `reading` says."""

    reading = ""

    def __call__(self, x: Array) -> Array:
        """Convolve."""
        copy = nnx.clone(self)
        copy.kernel[...] = read(self.kernel[...], self.reading, self.feature_group_count)
        return nnx.Conv.__call__(copy, x)


class NnxLinear(nnx.Linear):
    """A dense layer that reads its kernel as `reading` says."""

    reading = ""

    def __call__(self, x: Array) -> Array:
        """Multiply."""
        copy = nnx.clone(self)
        copy.kernel[...] = read(self.kernel[...], self.reading, 1)
        return nnx.Linear.__call__(copy, x)


class NnxConvTranspose(nnx.ConvTranspose):
    """A transposed convolution that reads its kernel as `reading` says."""

    reading = ""

    def __call__(self, x: Array) -> Array:
        """Convolve."""
        copy = nnx.clone(self)
        copy.kernel[...] = read(self.kernel[...], self.reading, 1)
        return nnx.ConvTranspose.__call__(copy, x)


class LinenConvTranspose(linen.Module):
    """`NnxConvTranspose`, in Linen; `settings` are the options of a node as pairs, `pads` those of XLA."""

    settings: tuple[tuple[str, Any], ...]
    pads: tuple[tuple[int, int], ...]
    transpose_kernel: bool = True

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Convolve."""
        o = dict(self.settings)
        shape = (o["kernel"], o["kernel"], o["outputs"], o["inputs"])
        kernel = read(self.param("kernel", _start, shape), o["reading"], 1).astype(x.dtype)
        y = jax.lax.conv_transpose(x, kernel, (o["stride"],) * 2, self.pads, transpose_kernel=True)
        return y + _row(self.param("bias", _start, (o["outputs"],)), y) if o["bias"] else y


class LinenConv(linen.Module):
    """`NnxConv`, in Linen; `settings` are the options of a node as pairs."""

    settings: tuple[tuple[str, Any], ...]

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Convolve."""
        o = dict(self.settings)
        shape = (o["kernel"], o["kernel"], o["inputs"] // o["groups"], o["outputs"])
        kernel = read(self.param("kernel", _start, shape), o["reading"], o["groups"])
        y = jax.lax.conv_general_dilated(
            x,
            kernel.astype(x.dtype),
            (o["stride"],) * 2,
            ((o["padding"],) * 2,) * 2,
            rhs_dilation=(o["dilation"],) * 2,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=o["groups"],
        )
        return y + _row(self.param("bias", _start, (o["outputs"],)), y) if o["bias"] else y


class LinenDense(linen.Module):
    """`NnxLinear`, in Linen; `settings` are the options of a node as pairs."""

    settings: tuple[tuple[str, Any], ...]

    @linen.compact
    def __call__(self, x: Array) -> Array:
        """Multiply."""
        o = dict(self.settings)
        y = x @ read(self.param("kernel", _start, (o["inputs"], o["outputs"])), o["reading"], 1).astype(
            x.dtype
        )
        return y + _row(self.param("bias", _start, (o["outputs"],)), y) if o["bias"] else y


_start = linen.initializers.normal(0.1)


def batch_norm(
    x: Array,
    scale: Array | None,
    bias: Array | None,
    running: Statistics,
    o: dict[str, Any],
    train: bool,
) -> tuple[Array, Statistics]:
    """PyTorch's batch normalisation, unless an option plants another convention; also the new statistics."""
    mean, var = running
    if o.get("mode", "") == "running":
        train = False
    batched = train or o.get("mode", "") == "batch"
    axes, count = tuple(range(x.ndim - 1)), x.size // x.shape[-1]
    used = (jnp.mean(x, axes), jnp.var(x, axes)) if batched else (mean, var)
    y = (x - _row(used[0], x)) / jnp.sqrt(_row(used[1], x) + o["epsilon"])
    y = y if scale is None else y * _row(scale, x)
    y = y if bias is None else y + _row(bias, x)
    if train and not o.get("forgotten"):
        m = o["momentum"]
        new = used[1] if o.get("biased") else used[1] * (count / (count - 1))
        mean, var = (1 - m) * mean + m * used[0], (1 - m) * var + m * new
    return y, (mean, var)


def _row(vector: Array, x: Array) -> Array:
    return vector.reshape((1,) * (x.ndim - 1) + (-1,))


class NnxBatchNorm(nnx.BatchNorm):
    """`batch_norm` as a layer; `settings` are its options as pairs."""

    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(self, x: Array) -> Array:
        """Normalise, and update the statistics in training."""
        scale = None if self.scale is None else self.scale[...]
        bias = None if self.bias is None else self.bias[...]
        running = self.mean[...], self.var[...]
        train = not self.use_running_average
        y, (self.mean[...], self.var[...]) = batch_norm(x, scale, bias, running, dict(self.settings), train)
        return y


class LinenBatchNorm(linen.Module):
    """`batch_norm` as a layer; `settings` are its options as pairs."""

    settings: tuple[tuple[str, Any], ...]

    @linen.compact
    def __call__(self, x: Array, train: bool) -> Array:
        """Normalise, and update the statistics in training."""
        o, shape = dict(self.settings), (x.shape[-1],)
        mean = self.variable("batch_stats", "mean", lambda: jnp.full(shape, o.get("touched", 0.0)))
        var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", linen.initializers.ones, shape) if o.get("use_scale", True) else None
        bias = self.param("bias", linen.initializers.zeros, shape) if o.get("use_bias", True) else None
        y, after = batch_norm(
            x, scale, bias, (mean.value, var.value), o, train and not self.is_initializing()
        )
        mean.value, var.value = after
        return y
