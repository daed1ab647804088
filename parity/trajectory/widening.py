"""The update of an optimiser in float64, its schedule included.

Optax counts steps in int32, and JAX divides int32 numbers in float32 whatever the parameters' dtype. So an exponential
or polynomial schedule gives 0.1 as 0.100000001490116 in a float64 run too. With counters in int64, and without casts to
float32, the same program computes the rate in float64.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from parity.capture.widen import has_rounded_constants, narrowed, widened
from parity.verdict.record import Note

# Two rates that are one number but for float32 differ by no more than this share.
_ROUNDED = 2.0**-22
# What else the updates may differ by, see `parity.diagnose.training.optimiser`.
_EXACT, _ROUNDING = 1e-9, 64 * 2.0**-52

# Gradients, optimiser's state and parameters, to updated parameters and state.
Update = Callable[[Any, Any, Any], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class WideUpdate:
    """An update whose float32 is lifted.

    Attributes:
        update: of the same arguments.
        state: the optimiser's first state for it.
        pinned: whether the update as written computes in float32.
        left: whether it still does.
    """

    update: Update
    state: Any
    pinned: bool
    left: bool


def wide_update(update: Update, state: Any, params: Any) -> WideUpdate:
    """The update with everything that it computes in float32 computed in float64, as far as that is possible.

    Args:
        update: in float64.
        state: the optimiser's first state.
        params: the parameters [any shape], float64.
    """
    program, shapes = _traced(update, params, state, params)
    if program is None or not narrowed(program):
        return WideUpdate(update, state, False, False)
    counted = jax.tree.map(_wide, state)
    program, shapes = _traced(update, params, counted, params)
    if program is None or not _keeps(shapes[1], counted):
        return WideUpdate(update, state, True, True)
    if not narrowed(program):
        return WideUpdate(update, counted, True, False)
    wide = widened(program)
    if wide is None or [aval.dtype for aval in wide.out_avals] != [s.dtype for s in jax.tree.leaves(shapes)]:
        return WideUpdate(update, counted, True, True)

    def without_casts(gradients: Any, state: Any, params: Any) -> Any:
        results = jaxpr_as_fun(wide)(*jax.tree.leaves((gradients, state, params)))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    left = narrowed(wide) or has_rounded_constants(program)
    return WideUpdate(without_casts, counted, True, left)


def _traced(update: Update, *arguments: Any) -> tuple[ClosedJaxpr | None, Any]:
    """The program of an update and the shapes of its results; None where it cannot be traced."""
    try:
        return jax.make_jaxpr(update, return_shape=True)(*arguments)
    except (TypeError, ValueError):
        return None, None


def _wide(leaf: Any) -> Any:
    dtypes = {np.dtype("int32"): jnp.int64, np.dtype("float32"): jnp.float64}
    wider = dtypes.get(getattr(leaf, "dtype", None))
    return leaf if wider is None else jnp.asarray(leaf, wider)


def _keeps(after: Any, before: Any) -> bool:
    """Whether the state after an update has the dtypes of the state before it."""
    dtypes = [[leaf.dtype for leaf in jax.tree.leaves(state)] for state in (after, before)]
    return dtypes[0] == dtypes[1]


def rate_rounding(record: Any) -> float | None:
    """The relative difference of the two rates of a step, if it explains the updates and float32 explains it.

    Args:
        record: a `StepRecord`.
    """
    before, torch, flax = (
        np.concatenate([arrays[name].ravel() for name in record.before])
        for arrays in (record.before, record.after_torch, record.after_flax)
    )
    of_torch, of_flax = before - torch, before - flax
    square = float(np.dot(of_torch, of_torch))
    share = float(np.dot(of_flax - of_torch, of_torch)) / square if square else 0.0
    left = np.abs(of_flax - (1 + share) * of_torch)
    allowed = _EXACT * np.max(np.abs(of_torch), initial=0.0) + _ROUNDING * np.abs(before)
    return abs(share) if abs(share) <= _ROUNDED and bool(np.all(left <= allowed)) else None


def rate_notes(wide: WideUpdate | None, rounded: float) -> list[Note]:
    """What Flax's optimiser computes in float32, and what came of it."""
    if rounded:
        words = (
            f"Flax computes the learning rate in float32 in a way that could not be lifted: it is PyTorch's to "
            f"{rounded:.1e} of itself, and a difference below {_ROUNDED:.1e} would not show"
        )
        return [Note("dtype-pinned", "optimiser", words)]
    if wide is not None and wide.pinned and not wide.left:
        words = "Flax computes the learning rate in float32; what it means was judged in float64"
        return [Note("dtype-pinned", "optimiser", words)]
    return []
