"""Cross-entropy between logits and labels or label distributions."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.precision import accumulation_dtype

REDUCTIONS = ("mean", "sum", "none")
Labels = Integer[Array, "n"] | Float[Array, "n k"]


def cross_entropy(
    logits: Float[Array, "n k"],
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "k"] | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    mask: Bool[Array, "n"] | None = None,
) -> Float[Array, ""] | Float[Array, "n"]:
    """Compute the cross-entropy of softmax(logits) and the labels.

    Let P_ik be the label distribution of row i (one-hot for an integer label), s the label smoothing, w the
    class weights (1 when None). The target of row i and its loss are

        q_ik = w_k [ (1 - s) P_ik + s / k ],        loss_i = - sum_k q_ik log softmax(logits_i)_k,

    and q_i = 0 for a row that does not count: one whose mask is False or whose label is ``ignore_index``.
    With ``sum`` the losses are added; with ``mean`` their sum is divided by

        D = sum of w_(label i) over the counted rows   for integer labels,
        D = the number of counted rows                 for distributions.

    Args:
        logits: [n, k].
        labels: integers [n], 0 to k - 1, or distributions [n, k]. An integer outside that range makes the
            loss NaN, since compiled code cannot raise.
        label_smoothing: s, 0 to 1.
        class_weights: w, [k], or None.
        reduction: "mean", "sum" or "none".
        ignore_index: an integer label whose rows do not count.
        mask: [n], which rows count; the values of the other rows reach neither the loss nor the gradient.

    Returns:
        The loss, a scalar, or [n] without reduction; in float32 at least. The mean over no row is NaN.

    Raises:
        InvalidArgument: an option is out of its range, or logits and labels do not fit each other.

    Reference: torch.nn.functional.cross_entropy; Szegedy et al. 2016, section 7, for label smoothing.
    """
    options = (label_smoothing, class_weights, ignore_index)
    clean, targets, denominator = _prepare(logits, labels, *options, mask=mask, reduction=reduction)
    # A zero target drops its class even where the log-probability is minus infinity.
    surprise = jnp.where(targets == 0, 0, targets * jax.nn.log_softmax(clean, axis=1))
    losses = -jnp.sum(surprise, axis=1)
    return losses if reduction == "none" else jnp.sum(losses) / denominator


def cross_entropy_backward(
    cotangent: Float[Array, ""] | Float[Array, "n"],
    logits: Float[Array, "n k"],
    labels: Labels,
    *,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "k"] | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    mask: Bool[Array, "n"] | None = None,
) -> Float[Array, "n k"]:
    """Pull a cotangent back through cross_entropy, to the logits.

    One row, with p = softmax(z): log p_k = z_k - log sum_l exp(z_l), so d(log p_k)/dz_j = [j = k] - p_j, and

        d(loss)/dz_j = - sum_k q_k ([j = k] - p_j) = p_j (sum_k q_k) - q_j.

    For an unweighted distribution sum_k q_k = 1, and the rule is the familiar p - q. The reduction is
    linear in the rows' losses, so with g = dL/dy the cotangent of row i is g_i ("none"), g ("sum") or g / D
    ("mean").

    Args:
        cotangent: dL/dy, a scalar, or [n] without reduction.
        logits, labels, label_smoothing, class_weights, reduction, ignore_index, mask: as given to cross_entropy.

    Returns:
        dL/dlogits, [n, k].

    Raises:
        InvalidArgument: as cross_entropy.

    Reference: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.2.2.3.
    """
    options = (label_smoothing, class_weights, ignore_index)
    clean, targets, denominator = _prepare(logits, labels, *options, mask=mask, reduction=reduction)
    row_cotangents = jnp.reshape(cotangent.astype(clean.dtype) / denominator, (-1, 1))
    totals = jnp.sum(targets, axis=1, keepdims=True)
    return (row_cotangents * (jax.nn.softmax(clean, axis=1) * totals - targets)).astype(logits.dtype)


def _prepare(
    logits: Float[Array, "n k"],
    labels: Labels,
    label_smoothing: float,
    class_weights: Float[Array, "k"] | None,
    ignore_index: int,
    *,
    mask: Bool[Array, "n"] | None,
    reduction: str,
) -> tuple[Float[Array, "n k"], Float[Array, "n k"], Float[Array, ""]]:
    """Return the logits with 0 in the uncounted rows, the targets q, and D (1 unless the reduction is "mean")."""
    _check(logits.shape, labels.shape, label_smoothing, reduction)
    dtype, classes = accumulation_dtype(logits.dtype), logits.shape[1]
    weights = jnp.ones((1, classes), dtype)
    if class_weights is not None:
        weights = class_weights.astype(dtype)[None, :]
    counted = jnp.ones(labels.shape[:1], bool) if mask is None else mask
    if labels.ndim == 1:
        labels = labels.astype(jnp.int32)
        counted = counted & (labels != ignore_index)
        distributions = _one_hot(jnp.where(counted, labels, 0), classes, dtype)
        row_weights = jnp.sum(distributions * weights, axis=1)
    else:
        distributions = labels.astype(dtype)
        row_weights = jnp.ones(labels.shape[:1], dtype)
    smoothed = weights * ((1 - label_smoothing) * distributions + label_smoothing / classes)
    rows = counted[:, None]
    denominator = jnp.sum(jnp.where(counted, row_weights, 0)) if reduction == "mean" else jnp.ones((), dtype)
    # Set to 0 before the logarithm: a NaN in a row that does not count must not reach the gradient either.
    return jnp.where(rows, logits.astype(dtype), 0), jnp.where(rows, smoothed, 0), denominator


def _one_hot(labels: Integer[Array, "n"], classes: int, dtype: jnp.dtype) -> Float[Array, "n k"]:
    """Convert integer labels to distributions; a label outside 0 .. classes - 1 gives a row of NaN."""
    chosen = labels[:, None] == jnp.arange(classes, dtype=labels.dtype)[None, :]
    known = (labels >= 0) & (labels < classes)
    return jnp.where(known[:, None], chosen.astype(dtype), jnp.nan)


def _check(
    logits_shape: tuple[int, ...], labels_shape: tuple[int, ...], label_smoothing: float, reduction: str
) -> None:
    """Raise on options that PyTorch refuses, and on labels that do not fit the logits."""
    if labels_shape not in (logits_shape[:1], logits_shape) or len(logits_shape) != 2:
        raise InvalidArgument(
            f"The logits have shape {logits_shape} and the labels {labels_shape}, but logits are [n, k] and "
            "labels are integers [n] or distributions [n, k]."
        )
    if not 0 <= label_smoothing <= 1:
        raise InvalidArgument(f"label_smoothing is {label_smoothing}, but it must lie between 0 and 1.")
    if reduction not in REDUCTIONS:
        raise InvalidArgument(f"reduction is {reduction!r}, but it must be one of {', '.join(REDUCTIONS)}.")
