"""What a training step reads and returns: one pytree with everything that changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from flaxcnn.functional import Parameters, State
from flaxcnn.train import ema


class TrainState(NamedTuple):
    """Everything that a step changes, as one pytree of arrays.

    Attributes:
        params: the trained parameters, flat by name.
        state: batch-norm statistics, flat by name.
        opt_state: the optimiser's own state.
        ema: moving average of `params`, or `None` where it is off.
        key: the run's random key; a step uses `fold_in(key, step)`, so it never changes.
        step: number of updates made so far.
    """

    params: Parameters
    state: State
    opt_state: Any
    ema: Parameters | None
    key: Key[Array, ""]
    step: Int[Array, ""]

    @property
    def evaluated_params(self) -> Parameters:
        """The weights to evaluate and to keep: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


def create(
    params: Parameters, state: State, optimiser: optax.GradientTransformation, *, seed: int, use_ema: bool
) -> TrainState:
    """The state before the first step; arrays are copied, so that the step may donate them."""
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params=params,
        state=jax.tree.map(jnp.array, state),
        opt_state=optimiser.init(params),
        ema=ema.init(params) if use_ema else None,
        key=jax.random.key(seed),
        step=jnp.zeros((), jnp.int32),
    )
