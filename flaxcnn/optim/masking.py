"""Training of a pruned network: the weights that are gone stay gone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array


class MaskedState(NamedTuple):
    """The state of `keeping_zeros`.

    Attributes:
        masks: of every parameter, which elements are trained; True alone where all are.
        inner: the state of the optimiser.
    """

    masks: Any
    inner: Any


def keeping_zeros(optimiser: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimiser that never moves the elements of kernels that are 0 at its start.

    With the mask m = [w_0 != 0] of each array of two axes or more, and 1 for others:

        u_t, s_t = update(m g_t, s_{t-1}, w_{t-1}),      w_t = w_{t-1} + m u_t

    The gradient is masked too, so that the optimiser's own averages stay 0 there and the norm that it is clipped by is
    that of the weights that are trained.

    Args:
        optimiser: any, in which an element without a gradient has no influence on others.

    Reference: Zhu and Gupta 2018, "To prune, or not to prune"; `torch.nn.utils.prune` multiplies by the mask in the
    forward pass, and the weights that are used are the same.
    """

    def init(params: Any) -> MaskedState:
        return MaskedState(masks_of(params), optimiser.init(params))

    def update(gradient: Any, state: MaskedState, params: Any = None) -> tuple[Any, MaskedState]:
        updates, inner = optimiser.update(masked(gradient, state.masks), state.inner, params)
        return masked(updates, state.masks), MaskedState(state.masks, inner)

    return optax.GradientTransformation(init, update)


def masks_of(params: Any) -> Any:
    """Where the kernels of a pytree are not 0; True alone for arrays of one axis, which are not pruned."""
    return jax.tree.map(lambda w: w != 0 if w.ndim > 1 else jnp.ones((), bool), params)


def masked(arrays: Any, masks: Any) -> Any:
    """The arrays with 0 where their mask is False."""

    def zeroed(array: Array, mask: Array) -> Array:
        return jnp.where(mask, array, jnp.zeros((), array.dtype))

    return jax.tree.map(zeroed, arrays, masks)
