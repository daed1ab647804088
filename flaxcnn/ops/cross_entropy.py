"""Cross-entropy between logits and labels or label distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from flaxcnn.ops.precision import accumulation_dtype

REDUCTIONS = ("mean", "sum", "none")


def cross_entropy(
    logits: Float[Array, "n k"],
    labels: Int[Array, "n"] | Float[Array, "n k"],
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "k"] | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    mask: Bool[Array, "n"] | None = None,
) -> Float[Array, ""] | Float[Array, "n"]:
    """Compare logits with integer labels or with label distributions, as torch's cross_entropy does."""
    _check_options(label_smoothing, reduction)
    targets, row_weights = _targets(
        logits,
        labels,
        label_smoothing=label_smoothing,
        class_weights=class_weights,
        ignore_index=ignore_index,
        mask=mask,
    )
    # Rows that do not count are blanked first: whatever they hold must not reach the sum or its gradient.
    counted = _counted(labels, ignore_index, mask)[:, None]
    log_probabilities = jax.nn.log_softmax(jnp.where(counted, logits, 0).astype(targets.dtype), axis=1)
    # A zero target drops its class even where the log-probability is minus infinity.
    losses = -jnp.sum(jnp.where(targets == 0, 0, targets * log_probabilities), axis=1)
    if reduction == "none":
        return losses
    if reduction == "sum":
        return jnp.sum(losses)
    return jnp.sum(losses) / jnp.sum(row_weights)


def _counted(
    labels: Int[Array, "n"] | Float[Array, "n k"], ignore_index: int, mask: Bool[Array, "n"] | None
) -> Bool[Array, "n"]:
    """Say which rows count: those the mask keeps and whose label is not the ignored one."""
    counted = jnp.ones(labels.shape[0], bool) if mask is None else mask
    if labels.ndim == 1:
        counted = counted & (labels != ignore_index)
    return counted


def _targets(
    logits: Float[Array, "n k"],
    labels: Int[Array, "n"] | Float[Array, "n k"],
    *,
    label_smoothing: float,
    class_weights: Float[Array, "k"] | None,
    ignore_index: int,
    mask: Bool[Array, "n"] | None,
) -> tuple[Float[Array, "n k"], Float[Array, "n"]]:
    """Give each row's weighted label distribution, and its share of the mean's denominator."""
    classes = logits.shape[1]
    wide = accumulation_dtype(logits.dtype)
    counted = _counted(labels, ignore_index, mask)
    weights = jnp.ones(classes, wide) if class_weights is None else class_weights.astype(wide)
    if labels.ndim == 1:
        chosen = labels[:, None] == jnp.arange(classes, dtype=labels.dtype)[None, :]
        # A label outside 0 .. k-1 cannot raise inside jit; NaN stops the run instead of training on it.
        in_range = jnp.any(chosen, axis=1, keepdims=True) | ~counted[:, None]
        distributions = jnp.where(in_range, chosen.astype(wide), jnp.asarray(jnp.nan, wide))
        row_weights = jnp.sum(jnp.where(chosen, weights[None, :], 0), axis=1)
    else:
        distributions = labels.astype(wide)
        row_weights = jnp.ones(labels.shape[0], wide)
    smoothed = (1 - label_smoothing) * distributions + label_smoothing / classes
    targets = jnp.where(counted[:, None], smoothed * weights[None, :], 0)
    return targets, jnp.where(counted, row_weights, 0)


def _check_options(label_smoothing: float, reduction: str) -> None:
    """Refuse options that PyTorch refuses."""
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing is {label_smoothing}, but it must lie between 0 and 1.")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction is {reduction!r}, but it must be one of {', '.join(REDUCTIONS)}.")
