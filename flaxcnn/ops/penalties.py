"""Penalties on the size of the parameters."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from flaxcnn.ops.precision import accumulation_dtype

Parameters = PyTree[Float[Array, "..."]]


def l2_penalty(params: Parameters) -> Float[Array, ""]:
    """Sum the squares of all parameters: sum_i p_i^2.

    Args:
        params: any tree of arrays; the caller chooses which parameters are in it, and the factor. With a
            factor of lambda / 2 the gradient is PyTorch's ``weight_decay`` of lambda.

    Reference: Goodfellow, Bengio and Courville 2016, Deep Learning, section 7.1.1.
    """
    return _total(params, jnp.square)


def l2_penalty_backward(cotangent: Float[Array, ""], params: Parameters) -> Parameters:
    """Pull a cotangent back through l2_penalty.

    d(sum_i p_i^2)/dp_i = 2 p_i, so with g = dL/dy, a scalar, dL/dp = 2 g p for every array p.

    Args:
        cotangent: dL/dy, a scalar.
        params: as given to l2_penalty.

    Returns:
        dL/dparams, a tree like params.
    """
    return jax.tree.map(lambda p: 2 * cotangent.astype(p.dtype) * p, params)


def l1_penalty(params: Parameters) -> Float[Array, ""]:
    """Sum the magnitudes of all parameters: sum_i |p_i|, with derivative 0 at 0.

    Args:
        params: any tree of arrays; the caller chooses which parameters are in it, and the factor.

    Reference: Goodfellow, Bengio and Courville 2016, Deep Learning, section 7.1.2.
    """
    # p sign(p), not abs(p): JAX gives abs the derivative 1 at 0, so a pruned weight would get a gradient.
    return _total(params, lambda p: p * jnp.sign(p))


def l1_penalty_backward(cotangent: Float[Array, ""], params: Parameters) -> Parameters:
    """Pull a cotangent back through l1_penalty.

    d|p|/dp is the sign of p; at 0, where any value from -1 to 1 is a subgradient, 0 is taken, as in
    PyTorch. With g = dL/dy, a scalar, dL/dp = g sign(p) for every array p.

    Args:
        cotangent: dL/dy, a scalar.
        params: as given to l1_penalty.

    Returns:
        dL/dparams, a tree like params.
    """
    return jax.tree.map(lambda p: cotangent.astype(p.dtype) * jnp.sign(p), params)


def _total(params: Parameters, function: Callable[[Array], Array]) -> Float[Array, ""]:
    """Apply a function to every element and add up; without parameters the sum is zero."""
    leaves = [leaf.astype(accumulation_dtype(leaf.dtype)) for leaf in jax.tree.leaves(params)]
    terms = [jnp.sum(function(leaf)) for leaf in leaves]
    return functools.reduce(jnp.add, terms) if terms else jnp.zeros(())
