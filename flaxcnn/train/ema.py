"""An exponential moving average of the weights."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from flaxcnn.errors import InvalidArgument


def init(params: Any) -> Any:
    """The average before the first update: a copy of the parameters.

    The buffers are new, so that a training step can be given both the parameters and their average to reuse.

    Args:
        params: a pytree of arrays.
    """
    return jax.tree.map(lambda p: jnp.array(p, copy=True), params)


def update(
    average: Any, params: Any, decay: float | int, step: Int[ArrayLike, ""], *, warm_up: bool = False
) -> Any:
    """The average after one more set of parameters, elementwise.

    average_0 = params_0;  average_t = average_{t-1} + (1 - decay) * (params_t - average_{t-1})
    With `warm_up`, 1 - decay is max(1 - decay, 9 / (10 + t)), for t = 0 too: the decay is min(decay,
    (1 + t) / (10 + t)), and an early average is not held back by the first parameters.
    Arrays that are not floating-point (counters) have no average: the latest are kept.

    Args:
        average: of the parameters so far, as `init` or `update` returned it.
        params: the parameters after update `step`, a pytree like `average`.
        decay: the share of the average that is kept, in [0, 1].
        step: t, the number of this update, from 0.
        warm_up: let the decay grow.

    Raises:
        InvalidArgument: `decay` is not in [0, 1].

    Reference: Polyak & Juditsky 1992; `torch.optim.swa_utils.AveragedModel` with
        `get_ema_multi_avg_fn(decay)`;
    the warm-up is that of `tf.train.ExponentialMovingAverage`.
    """
    if not 0 <= decay <= 1:
        raise InvalidArgument(f"decay is {decay!r}, but it must be in [0, 1]; 0.999 is usual.")
    weight = new_weight(decay, jnp.asarray(step), warm_up=warm_up)

    def mixed(old: Array, new: Array) -> Array:
        if not jnp.issubdtype(new.dtype, jnp.floating):
            return new
        share = weight.astype(new.dtype)
        # Exactly `new` where its share is 1: old + (new - old) may miss it by a rounding, or be NaN.
        return jnp.where(share == 1, new, old + share * (new - old))

    return jax.tree.map(mixed, average, params)


def new_weight(decay: float | int, step: Int[Array, ""], *, warm_up: bool) -> Float[Array, ""]:
    """The share of the newest parameters in the average.

    1 - decay is taken in Python's float64 and a warm-up as 9 / (10 + t): in float32, 1 - 0.9999 would be
    wrong by 1e-4 of itself.
    """
    if warm_up:
        return jnp.maximum(1 - decay, 9 / (10 + step.astype(float)))
    return jnp.where(step == 0, 1.0, 1 - decay)
