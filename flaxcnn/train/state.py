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
        ema: moving average of `params` and of the floating-point `state` (weights and the statistics that
            belong to them), flat by name in one dictionary; `None` where it is off.
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
    def evaluated(self) -> tuple[Parameters, State]:
        """The parameters and state to evaluate and to keep: their moving average where there is one."""
        if self.ema is None:
            return self.params, self.state
        average = self.state | self.ema
        return {name: average[name] for name in self.params}, {name: average[name] for name in self.state}


def averaged(params: Parameters, state: State) -> Parameters:
    """What a moving average is taken of: all but the integer counters."""
    return params | {
        name: value for name, value in state.items() if jnp.issubdtype(value.dtype, jnp.floating)
    }


def create(
    params: Parameters, state: State, optimiser: optax.GradientTransformation, *, seed: int, use_ema: bool
) -> TrainState:
    """The state before the first step; arrays are copied, so that the step may donate them."""
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params=params,
        state=jax.tree.map(jnp.array, state),
        opt_state=optimiser.init(params),
        ema=ema.init(averaged(params, state)) if use_ema else None,
        key=jax.random.key(seed),
        step=jnp.zeros((), jnp.int32),
    )
