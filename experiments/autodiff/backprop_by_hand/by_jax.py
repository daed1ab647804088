"""The same network in plain jax.numpy, differentiated by jax.grad.

Nothing of `flaxcnn.ops` is used here: its functions carry derivative rules of their own, and the hand-derived rules
would then be compared with themselves.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from experiments.autodiff.backprop_by_hand.network import (
    CONV1,
    CONV2,
    EPSILON,
    POOL,
    SMOOTHING,
    Arrays,
    Pass,
    Tensors,
)
from parity.capture.flax import precision

LAYOUT = ("NHWC", "HWIO", "NHWC")


def loss(params: Tensors, probes: Tensors, labels: Int[Array, "n"]) -> tuple[Array, Tensors]:
    """The loss and every tensor. To each tensor v a zero is added, its probe: dLoss/dprobe is dLoss/dv."""
    values: Tensors = {}

    def probed(name: str, value: Array) -> Array:
        values[name] = value + probes[name]
        return values[name]

    x = probed("x", jnp.zeros_like(probes["x"]))  # the image is its own probe
    z1 = probed("z1", convolve(x, params["conv1.weight"], **CONV1))
    y1 = probed("y1", normalise(z1, params["norm.weight"], params["norm.bias"]))
    a1 = probed("a1", jax.nn.relu(y1))
    p1 = probed("p1", pool(a1))
    bias = jnp.reshape(params["conv2.bias"], (1, 1, 1, -1))
    z2 = probed("z2", convolve(p1, params["conv2.weight"], **CONV2) + bias)
    a2 = probed("a2", jax.nn.relu(z2))
    f = probed("f", jnp.reshape(jnp.moveaxis(a2, 3, 1), (a2.shape[0], -1)))
    z3 = probed("z3", f @ params["dense.weight"] + params["dense.bias"][None, :])
    classes = z3.shape[1]
    target = (1 - SMOOTHING) * jax.nn.one_hot(labels, classes, dtype=z3.dtype) + SMOOTHING / classes
    return -jnp.mean(jnp.sum(target * jax.nn.log_softmax(z3), axis=1)), values


def convolve(x: Array, kernel: Array, *, stride: int, padding: int) -> Array:
    """A convolution as XLA knows it."""
    borders = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), borders, dimension_numbers=LAYOUT)


def normalise(z: Float[Array, "n h w c"], scale: Float[Array, "c"], bias: Float[Array, "c"]) -> Array:
    """Batch normalisation from its definition."""
    mean = jnp.mean(z, axis=(0, 1, 2), keepdims=True)
    variance = jnp.mean((z - mean) ** 2, axis=(0, 1, 2), keepdims=True)
    unit = (z - mean) / jnp.sqrt(variance + EPSILON)
    return unit * jnp.reshape(scale, (1, 1, 1, -1)) + jnp.reshape(bias, (1, 1, 1, -1))


def pool(a: Float[Array, "n h w c"]) -> Array:
    """The maximum of each window."""
    window = (1, POOL, POOL, 1)
    return jax.lax.reduce_window(a, -jnp.inf, jax.lax.max, window, window, "VALID")


differentiated = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))


def by_jax(params: Arrays, x: np.ndarray, labels: np.ndarray, dtype: str = "float64") -> Pass:
    """The whole pass in one precision; the derivatives are jax.grad's."""
    with precision(dtype):
        n = len(x)
        shapes = {"z1": (8, 8, 4), "y1": (8, 8, 4), "a1": (8, 8, 4), "p1": (4, 4, 4)}
        shapes |= {"z2": (2, 2, 8), "a2": (2, 2, 8), "f": (32,), "z3": (10,)}
        probes = {name: jnp.zeros((n, *shape), dtype) for name, shape in shapes.items()}
        probes["x"] = jnp.asarray(x, dtype)
        arrays = {name: jnp.asarray(array, dtype) for name, array in params.items()}
        results = differentiated(arrays, probes, jnp.asarray(labels, jnp.int32))
        (value, values), (gradients, signals) = results
        parts = ({name: np.asarray(a) for name, a in part.items()} for part in (values, signals, gradients))
        return Pass(np.asarray(value), *parts)
