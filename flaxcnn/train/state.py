"""What a training step reads and returns: one pytree with everything that changes."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, Key

from flaxcnn import optim
from flaxcnn.functional import Parameters, State
from flaxcnn.train import ema
from flaxcnn.transfer.plan import divided


class TrainState(NamedTuple):
    """Everything that a step changes, as one pytree of arrays.

    Attributes:
        params: the parameters, flat by name, the frozen ones too.
        state: batch-norm statistics, flat by name.
        opt_state: the optimiser's own state, of what is trained.
        ema: moving average of `params` and of the floating-point `state` (weights and the statistics that
            belong to them) that are not frozen, flat by name in one dictionary; `None` where it is off.
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
        average = self.params | self.state | self.ema
        return {name: average[name] for name in self.params}, {name: average[name] for name in self.state}


def averaged(params: Parameters, state: State, frozen: frozenset[str] = frozenset()) -> Parameters:
    """What a moving average is taken of: all but the integer counters and what is frozen."""
    return {
        name: value
        for name, value in (params | state).items()
        if name not in frozen and jnp.issubdtype(value.dtype, jnp.floating)
    }


def create(
    params: Parameters,
    state: State,
    optimiser: optax.GradientTransformation,
    *,
    seed: int,
    use_ema: bool,
    frozen: frozenset[str] = frozenset(),
) -> TrainState:
    """The state before the first step; arrays are copied, so that the step may donate them.

    The optimiser and the average know nothing of what is frozen.
    """
    params = jax.tree.map(jnp.array, params)
    return TrainState(
        params=params,
        state=jax.tree.map(jnp.array, state),
        opt_state=optimiser.init(divided(params, frozen)[0]),
        ema=ema.init(averaged(params, state, frozen)) if use_ema else None,
        key=jax.random.key(seed),
        step=jnp.zeros((), jnp.int32),
    )


def thawed(
    train_state: TrainState, optimiser: optax.GradientTransformation, frozen: frozenset[str]
) -> TrainState:
    """The state with which less is frozen from now on, and `optimiser` trains the rest.

    What the optimiser and the average know stays as it is. Of what is new to them the optimiser knows nothing yet,
    and the average is the present value.
    """
    fresh = optimiser.init(divided(train_state.params, frozen)[0])
    average = train_state.ema
    if average is not None:
        average = ema.init(averaged(train_state.params, train_state.state, frozen)) | average
    return train_state._replace(opt_state=optim.joined(train_state.opt_state, fresh), ema=average)
