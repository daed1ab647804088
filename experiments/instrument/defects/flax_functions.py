"""The functions between the modules of a graph, on the Flax side; images are [n, h, w, c].

Every option that PyTorch lacks is a planted defect; its default is PyTorch's convention.
"""

import math
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from experiments.instrument.defects.graph import Node

# Linen passes on the arrays that it is initialised from, which may be NumPy's.
Array = jax.Array | np.ndarray

ACTIVATIONS: dict[str, Any] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "silu": jax.nn.silu,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "sigmoid": jax.nn.sigmoid,
    "tanh": jnp.tanh,
    "elu": jax.nn.elu,
    # At zero PyTorch's derivative is the slope, that of jax.nn.leaky_relu is 1.
    "leaky_relu": lambda x: jnp.where(x > 0, x, x * jnp.asarray(0.01, x.dtype)),
    "softplus": jax.nn.softplus,
    "hard_swish": jax.nn.hard_swish,
    "hard_sigmoid": jax.nn.hard_sigmoid,
    # Planted: the same values as ReLU, other derivatives at zero.
    "relu_half": lambda x: jnp.maximum(x, jnp.zeros_like(x)),
    "relu_one": lambda x: jnp.where(x >= 0, x, jnp.zeros_like(x)),
    "none": lambda x: x,
}


def _max_pool(node: Node, x: Array) -> Array:
    o = node.options
    window, stride, p = (o["window"],) * 2, (o["stride"],) * 2, o["padding"]
    if o.get("value") == "zero":
        x, p = jnp.pad(x, ((0, 0), (p, p), (p, p), (0, 0))), 0
    if o.get("side") == "same":
        return nnx.max_pool(x, window, stride, "SAME")
    ends = [_ceil_excess(size, o, p) if o["ceil"] else 0 for size in x.shape[1:3]]
    return nnx.max_pool(x, window, stride, tuple((p, p + end) for end in ends))


def _ceil_excess(size: int, o: dict[str, Any], padding: int) -> int:
    """The additional padding at the end that rounds the output size up, as `ceil_mode` does."""
    span = size + 2 * padding - o["window"]
    windows = math.ceil(span / o["stride"])
    if windows * o["stride"] >= size + padding:
        windows -= 1  # the last window may not start in the padding
    return max(0, windows * o["stride"] - span)


def _avg_pool(node: Node, x: Array) -> Array:
    o = node.options
    window, stride, p = (o["window"],) * 2, (o["stride"],) * 2, o["padding"]
    pads: Any = "SAME" if o.get("side") == "same" else ((p, p), (p, p))
    return nnx.avg_pool(x, window, stride, pads, count_include_pad=o["counted"])


def _resize(node: Node, x: Array) -> Array:
    o = node.options
    n, h, w, c = x.shape
    size = (n, int(o["factor"] * h), int(o["factor"] * w), c)
    if o["corners"]:
        return _aligned(x, size)
    return jax.image.resize(x, size, o["method"], antialias=o.get("antialias", False))


def _aligned(x: Array, size: tuple[int, ...]) -> Array:
    """Bilinear resizing with the corners aligned, one axis after the other."""
    for axis in (1, 2):
        old, new = x.shape[axis], size[axis]
        position = np.arange(new) * ((old - 1) / (new - 1))
        low = np.clip(np.floor(position).astype(int), 0, old - 2)
        part = jnp.asarray((position - low).reshape([-1 if a == axis else 1 for a in range(4)]), x.dtype)
        x = jnp.take(x, low, axis) * (1 - part) + jnp.take(x, low + 1, axis) * part
    return x


def _flatten(node: Node, x: Array) -> Array:
    if x.ndim == 4 and node.options.get("order", "chw") == "chw":
        x = jnp.transpose(x, (0, 3, 1, 2))
    return x.reshape(x.shape[0], -1)


def _loss(node: Node, logits: Array, labels: Array) -> Array:
    o = node.options
    z = jax.nn.softmax(logits) if o.get("twice") else logits
    e, k = o["smoothing"], z.shape[-1]
    own = jax.nn.one_hot(labels, k, dtype=z.dtype)
    spread = e / (k - 1) * (1 - own) if o.get("form") == "others" else e / k * jnp.ones_like(own)
    losses = -jnp.sum(((1 - e) * own + spread) * jax.nn.log_softmax(z), axis=-1)
    reduction = o.get("reduction", "mean")
    if reduction == "shards":
        # The mean of the means of two unequal parts.
        return (jnp.mean(losses[:1]) + jnp.mean(losses[1:])) / 2
    return {"mean": jnp.mean, "sum": jnp.sum, "none": lambda values: values}[reduction](losses)


def kept(node: Node, shape: tuple[int, ...]) -> np.ndarray:
    """Which elements a fixed draw keeps, [n ... c]: both sides compare the same numbers with their own rate."""
    generator = np.random.default_rng(zlib.crc32(node.name.encode()))
    return generator.random(shape) >= node.options["rate"]


def _masked(node: Node, x: Array) -> Array:
    o = node.options
    y = x * jnp.asarray(kept(node, x.shape), x.dtype)
    return y if o.get("unscaled") else y / (1 - o["rate"])


FUNCTIONS: dict[str, Any] = {
    "activation": lambda node, x: ACTIVATIONS[node.options["function"]](x),
    "max_pool": _max_pool,
    "avg_pool": _avg_pool,
    "mean": lambda node, x: x.mean((1, 2)),
    "std": lambda node, x: jnp.std(x, (1, 2), ddof=node.options.get("ddof", 1)),
    "flatten": _flatten,
    "add": lambda node, x, y: x + y,
    "multiply": lambda node, x, y: x * y,
    "concat": lambda node, *parts: jnp.concatenate(parts, -1),
    "resize": _resize,
    "to_last": lambda node, x: x,
    "to_first": lambda node, x: x,
    "to_image": lambda node, x: x[:, None, None, :],
    "cross_entropy": _loss,
    "masked": _masked,
    "function": lambda node, *x: node.options["flax"](*x),
    # Only planted defects use these.
    "same": lambda node, x, *_: x,
    "stopped": lambda node, x: jax.lax.stop_gradient(x),
    "softmax": lambda node, x: jax.nn.softmax(x),
    "reversed": lambda node, x: x[..., ::-1],
    "affine": lambda node, x: x * node.options["factor"] + node.options["shift"],
}
