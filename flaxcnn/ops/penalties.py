"""Penalties on the size of the parameters."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree


def l2_penalty(params: PyTree[Float[Array, "..."]]) -> Float[Array, ""]:
    """Sum the squares of all parameters."""
    return _total([jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(params)])


def l1_penalty(params: PyTree[Float[Array, "..."]]) -> Float[Array, ""]:
    """Sum the magnitudes of all parameters."""
    return _total([jnp.sum(jnp.abs(leaf)) for leaf in jax.tree.leaves(params)])


def _total(terms: list[Float[Array, ""]]) -> Float[Array, ""]:
    """Add the terms; no term at all adds up to zero."""
    return functools.reduce(jnp.add, terms) if terms else jnp.zeros(())
