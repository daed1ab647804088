"""A small CNN, forward and backward by hand: read it from top to bottom.

    x --conv1--> z1 --norm--> y1 --relu1--> a1 --pool--> p1 --conv2--> z2 --relu2--> a2 --flatten--> f --dense--> z3

and the loss is the cross-entropy of softmax(z3), labels smoothed, averaged over the batch. `conv1` has no bias,
because batch normalisation would subtract it again; `conv2` strides by two.

The error signal of a tensor v is delta(v) = dLoss/dv, an array of v's shape. `backward` starts with 1 at the loss and
pulls it back through one layer after the other. No line of it differentiates anything: every rule is derived
in the docstring of the function it calls, in `flaxcnn.ops`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from flaxcnn.data.digits import load_digits
from flaxcnn.ops import (
    batch_norm,
    batch_norm_backward,
    conv2d,
    conv2d_backward,
    cross_entropy,
    cross_entropy_backward,
    dense,
    dense_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
)
from parity.capture.flax import precision

CONV1 = {"stride": 1, "padding": 1}
CONV2 = {"stride": 2, "padding": 1}
POOL = 2
SMOOTHING = 0.1
EPSILON = 1e-5
BATCH = 16
CLASSES = 10
# The tensors in the order of the forward pass.
TENSORS = ("x", "z1", "y1", "a1", "p1", "z2", "a2", "f", "z3")
SHAPES = {
    "conv1.weight": (3, 3, 1, 4),
    "norm.weight": (4,),
    "norm.bias": (4,),
    "conv2.weight": (3, 3, 4, 8),
    "conv2.bias": (8,),
    "dense.weight": (32, CLASSES),
    "dense.bias": (CLASSES,),
}

Tensors = dict[str, Array]
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Pass:
    """One pass forward and back: the loss, every tensor, its error signal, and the gradient of every parameter.

    Arrays are in Flax's layout: images [n h w c], kernels [h w in out], the dense weight [in out].
    """

    loss: np.ndarray
    values: Arrays
    signals: Arrays
    gradients: Arrays


def forward(params: Tensors, x: Float[Array, "n 8 8 1"], labels: Int[Array, "n"]) -> tuple[Array, Tensors]:
    """The loss and every intermediate tensor, which `backward` needs."""
    z1 = conv2d(x, params["conv1.weight"], **CONV1)
    y1 = normalise(z1, params["norm.weight"], params["norm.bias"])
    a1 = relu(y1)
    p1 = max_pool2d(a1, POOL)
    z2 = conv2d(p1, params["conv2.weight"], params["conv2.bias"], **CONV2)
    a2 = relu(z2)
    f = flatten(a2)
    z3 = dense(f, params["dense.weight"], params["dense.bias"])
    loss = cross_entropy(z3, labels, label_smoothing=SMOOTHING)
    return loss, {"x": x, "z1": z1, "y1": y1, "a1": a1, "p1": p1, "z2": z2, "a2": a2, "f": f, "z3": z3}


def backward(params: Tensors, values: Tensors, labels: Int[Array, "n"]) -> tuple[Tensors, Tensors]:
    """The error signal of every tensor, from the loss back to the image, and the gradient of every parameter."""
    delta: Tensors = {}
    gradient: Tensors = {}
    # The loss itself: dLoss/dLoss = 1. Cross-entropy and softmax together give (softmax - target) / n.
    delta_loss = jnp.ones((), values["z3"].dtype)
    delta["z3"] = cross_entropy_backward(delta_loss, values["z3"], labels, label_smoothing=SMOOTHING)
    # dense: back through the transposed weight; the weight's gradient is input times error signal.
    delta["f"], gradient["dense.weight"], gradient["dense.bias"] = dense_backward(
        delta["z3"], values["f"], params["dense.weight"]
    )
    # flatten: only the shape changes.
    delta["a2"] = unflatten(delta["f"], values["a2"].shape)
    # relu2: passes where its input was positive.
    delta["z2"] = relu_backward(delta["a2"], values["z2"])
    # conv2: each output hands its error back to the pixels under its kernel.
    delta["p1"], gradient["conv2.weight"], gradient["conv2.bias"] = conv2d_backward(
        delta["z2"], values["p1"], params["conv2.weight"], **CONV2
    )
    # pool: each window hands its error to the pixel that won.
    delta["a1"] = max_pool2d_backward(delta["p1"], values["a1"], POOL)
    # relu1, as relu2.
    delta["y1"] = relu_backward(delta["a1"], values["y1"])
    # norm: each pixel moved the batch's mean and variance too.
    delta["z1"], gradient["norm.weight"], gradient["norm.bias"] = batch_norm_backward(
        delta["y1"], values["z1"], params["norm.weight"], epsilon=EPSILON
    )
    # conv1, as conv2, without a bias. The error signal of the image shows which pixels the loss depends on.
    delta["x"], gradient["conv1.weight"], _ = conv2d_backward(
        delta["z1"], values["x"], params["conv1.weight"], **CONV1
    )
    return delta, gradient


def normalise(z: Float[Array, "n h w c"], scale: Float[Array, "c"], bias: Float[Array, "c"]) -> Array:
    """Batch normalisation in training; the running statistics, which the loss does not see, are dropped."""
    unused = jnp.zeros_like(scale)
    return batch_norm(z, scale, bias, unused, unused, train=True, epsilon=EPSILON)[0]


def flatten(a: Float[Array, "n h w c"]) -> Float[Array, "n _f"]:
    """Images as rows, in PyTorch's order (channel, row, column), so that one weight matrix serves both."""
    return jnp.reshape(jnp.transpose(a, (0, 3, 1, 2)), (a.shape[0], -1))


def unflatten(delta: Float[Array, "n _f"], shape: tuple[int, ...]) -> Float[Array, "n h w c"]:
    """Rows as images: the inverse of `flatten`."""
    n, h, w, c = shape
    return jnp.transpose(jnp.reshape(delta, (n, c, h, w)), (0, 2, 3, 1))


def both_ways(
    params: Tensors, x: Float[Array, "n 8 8 1"], labels: Int[Array, "n"]
) -> tuple[Array, Tensors, Tensors, Tensors]:
    """Forward and back: the loss, every tensor, its error signal, every gradient."""
    loss, values = forward(params, x, labels)
    return loss, values, *backward(params, values, labels)


# Compiled, because run line by line it is slower to start; the numbers are the same up to rounding.
compiled = jax.jit(both_ways)


def by_hand(params: Arrays, x: np.ndarray, labels: np.ndarray, dtype: str = "float64") -> Pass:
    """The whole pass in one precision."""
    with precision(dtype):
        arrays = {name: jnp.asarray(array, dtype) for name, array in params.items()}
        loss, *parts = compiled(arrays, jnp.asarray(x, dtype), jnp.asarray(labels, jnp.int32))
        parts = [{name: np.asarray(a) for name, a in part.items()} for part in parts]
        return Pass(np.asarray(loss), *parts)


def initial_parameters(seed: int = 0) -> Arrays:
    """PyTorch's initial weights (uniform, up to 1 / sqrt(inputs)), in float64.

    Scale and bias of the normalisation would start at 1 and 0, where a mistake in their use would not show. They are
    drawn near these values instead.
    """
    random = np.random.default_rng(seed)
    params = {}
    for name, shape in SHAPES.items():
        if name == "norm.weight":
            params[name] = random.uniform(0.75, 1.25, shape)
        elif name == "norm.bias":
            params[name] = random.uniform(-0.25, 0.25, shape)
        else:
            inputs = SHAPES[name.replace("bias", "weight")][:-1]
            bound = 1 / np.sqrt(np.prod(inputs))
            params[name] = random.uniform(-bound, bound, shape)
    return params


def digits(count: int = BATCH) -> tuple[Float[np.ndarray, "n 8 8 1"], Int[np.ndarray, "n"]]:
    """The first handwritten digits of scikit-learn, as ink from 0 to 1, and their labels."""
    images, labels = load_digits().gather(np.arange(count))
    return images.astype(np.float64) / 255, labels
