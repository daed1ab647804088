"""The update directions of PyTorch's optimisers for which optax has no exact equal.

Each rule turns a gradient g_t (t = 1, 2, ...) into a direction d_t of the same shape; the parameters then
move by -learning_rate * d_t. All sums are elementwise.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class MomentumState(NamedTuple):
    """The number of updates done, and the momentum buffer v."""

    count: Int[Array, ""]
    buffer: Any


class AdamState(NamedTuple):
    """The number of updates done, the moments m and s, and the largest s so far (None without amsgrad)."""

    count: Int[Array, ""]
    mean: Any
    square: Any
    largest_square: Any


class RootMeanSquareState(NamedTuple):
    """The running mean of the squared gradient, and of the gradient (None unless centered)."""

    square: Any
    mean: Any


def dampened_momentum(momentum: float, dampening: float) -> optax.GradientTransformation:
    """Momentum with dampening, whose first buffer is the whole gradient.

    v_1 = g_1;  v_t = momentum * v_{t-1} + (1 - dampening) * g_t;  d_t = v_t.
    Without dampening this is `optax.trace(momentum)`.

    Args:
        momentum: the share of the buffer that is kept.
        dampening: the share of the gradient that is left out, from the second update on.

    Reference: `torch.optim.SGD`.
    """

    def init(params: Any) -> MomentumState:
        return MomentumState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.zeros_like, params))

    def update(gradients: Any, state: MomentumState, params: Any = None) -> tuple[Any, MomentumState]:
        del params
        weight = jnp.where(state.count == 0, 1.0, 1.0 - dampening)
        buffer = jax.tree.map(lambda v, g: momentum * v + weight.astype(g.dtype) * g, state.buffer, gradients)
        return buffer, MomentumState(optax.safe_increment(state.count), buffer)

    return optax.GradientTransformation(init, update)


def bias_correction(beta: float, count: Int[Array, ""]) -> Float[Array, ""]:
    """1 - beta^count, without cancellation.

    In float32, 1 - 0.999^1 computed as written has a relative error of 5e-5. PyTorch computes it in Python's
    float64. In float32, -expm1(count * log(beta)) with log(beta) from float64 is as accurate.

    Args:
        beta: the decay of a running mean, in [0, 1).
        count: the number of terms in the mean, >= 1.
    """
    if beta == 0:
        return jnp.ones(())
    return -jnp.expm1(count.astype(float) * math.log(beta))


def adam_direction(
    beta_mean: float, beta_square: float, epsilon: float, *, amsgrad: bool = False
) -> optax.GradientTransformation:
    """Adam's bias-corrected mean gradient divided by its bias-corrected root mean square.

    m_t = b1 m_{t-1} + (1 - b1) g_t;  s_t = b2 s_{t-1} + (1 - b2) g_t^2;  m_0 = s_0 = 0
    d_t = (m_t / (1 - b1^t)) / (sqrt(s_t) / sqrt(1 - b2^t) + epsilon)
    With amsgrad, sqrt(s_t) is replaced by sqrt(max(s_1, ..., s_t)): PyTorch takes the maximum before the bias
    correction, optax after it.

    Args:
        beta_mean: b1.
        beta_square: b2.
        epsilon: outside the root, after the bias correction.
        amsgrad: divide by the largest mean square so far.

    Reference: Kingma & Ba 2015, "Adam"; Reddi et al. 2018, "On the convergence of Adam and beyond";
    `torch.optim.Adam`.
    """

    def init(params: Any) -> AdamState:
        zeros = jax.tree.map(jnp.zeros_like, params)
        # Separate buffers, since a donated state must not hold the same array twice.
        square = jax.tree.map(jnp.zeros_like, params)
        largest = jax.tree.map(jnp.zeros_like, params) if amsgrad else None
        return AdamState(jnp.zeros((), jnp.int32), zeros, square, largest)

    def update(gradients: Any, state: AdamState, params: Any = None) -> tuple[Any, AdamState]:
        del params
        count = optax.safe_increment(state.count)
        mean = jax.tree.map(lambda m, g: m + (1 - beta_mean) * (g - m), state.mean, gradients)
        square = jax.tree.map(
            lambda s, g: beta_square * s + (1 - beta_square) * jnp.square(g), state.square, gradients
        )
        largest = jax.tree.map(jnp.maximum, state.largest_square, square) if amsgrad else None
        correction_mean = bias_correction(beta_mean, count)
        correction_root = jnp.sqrt(bias_correction(beta_square, count))

        def direction(m: Array, s: Array) -> Array:
            denominator = jnp.sqrt(s) / correction_root.astype(s.dtype) + epsilon
            return m / denominator / correction_mean.astype(m.dtype)

        updates = jax.tree.map(direction, mean, largest if amsgrad else square)
        return updates, AdamState(count, mean, square, largest)

    return optax.GradientTransformation(init, update)


def root_mean_square_direction(
    alpha: float, epsilon: float, *, centered: bool = False
) -> optax.GradientTransformation:
    """The gradient divided by its running root mean square, or by its running standard deviation.

    s_t = alpha s_{t-1} + (1 - alpha) g_t^2;  d_t = g_t / (sqrt(s_t) + epsilon);  s_0 = 0
    Centered: a_t = alpha a_{t-1} + (1 - alpha) g_t;  d_t = g_t / (sqrt(s_t - a_t^2) + epsilon);  a_0 = 0

    Args:
        alpha: the share of the running mean that is kept.
        epsilon: outside the root (optax's default is inside).
        centered: subtract the squared mean.

    Reference: Tieleman & Hinton 2012, lecture 6.5; Graves 2013 (centered); `torch.optim.RMSprop`.
    """

    def init(params: Any) -> RootMeanSquareState:
        mean = jax.tree.map(jnp.zeros_like, params) if centered else None
        return RootMeanSquareState(jax.tree.map(jnp.zeros_like, params), mean)

    def update(
        gradients: Any, state: RootMeanSquareState, params: Any = None
    ) -> tuple[Any, RootMeanSquareState]:
        del params
        square = jax.tree.map(lambda s, g: alpha * s + (1 - alpha) * jnp.square(g), state.square, gradients)
        if not centered:
            updates = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + epsilon), gradients, square)
            return updates, RootMeanSquareState(square, None)
        mean = jax.tree.map(lambda a, g: a + (1 - alpha) * (g - a), state.mean, gradients)
        updates = jax.tree.map(
            lambda g, s, a: g / (jnp.sqrt(s - jnp.square(a)) + epsilon), gradients, square, mean
        )
        return updates, RootMeanSquareState(square, mean)

    return optax.GradientTransformation(init, update)
