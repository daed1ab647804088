"""Distillation: how far a student's probabilities are from those of a teacher, both softened."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.precision import accumulation_dtype


def distillation(
    logits: Float[Array, "n k"],
    teacher: Float[Array, "n k"],
    *,
    temperature: float = 4.0,
    mask: Bool[Array, "n"] | None = None,
) -> Float[Array, ""]:
    """The Kullback-Leibler divergence of a teacher from a student at a temperature, times its square.

    With the temperature T, p = softmax(student / T) and q = softmax(teacher / T), over the N counted rows,

        loss = T^2 / N sum_rows sum_k q_k (log q_k - log p_k).

    The gradient of a softened probability is 1 / T^2 of the hard one's; T^2 makes up for it.

    Args:
        logits: of the student, [n, k].
        teacher: its logits, [n, k]; no gradient goes there.
        temperature: T, above 0; the higher, the more the small probabilities count.
        mask: [n], which rows count; all when None. If none does, the loss is 0.

    Raises:
        InvalidArgument: the temperature is not positive.

    Reference: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network", section 2;
    torch.nn.KLDivLoss(reduction="batchmean").
    """
    z, t, counted, number = _prepare(logits, teacher, temperature, mask)
    log_p, log_q = jax.nn.log_softmax(z, axis=1), jax.nn.log_softmax(t, axis=1)
    rows = jnp.sum(jnp.exp(log_q) * (log_q - log_p), axis=1)
    total = jnp.sum(jnp.where(counted, rows, jnp.zeros_like(rows)))
    return (total * (temperature**2 / number)).astype(logits.dtype)


def distillation_backward(
    cotangent: Float[Array, ""],
    logits: Float[Array, "n k"],
    teacher: Float[Array, "n k"],
    *,
    temperature: float = 4.0,
    mask: Bool[Array, "n"] | None = None,
) -> Float[Array, "n k"]:
    """Pull a cotangent back through `distillation`, to the student's logits.

    d(log p_k)/dz_j = ([j = k] - p_j) / T, and sum_k q_k = 1, so that with g = dL/dloss

        dL/dz_j = g T / N (p_j - q_j)      in the rows that count, 0 in the others.

    Args:
        cotangent: dL/dloss, a scalar.
        logits, teacher, temperature, mask: as given to `distillation`.

    Returns:
        dL/dlogits, [n, k].

    Raises:
        InvalidArgument: as `distillation`.
    """
    z, t, counted, number = _prepare(logits, teacher, temperature, mask)
    rows = (jax.nn.softmax(z, axis=1) - jax.nn.softmax(t, axis=1)) * (temperature / number)
    pulled = cotangent.astype(z.dtype) * jnp.where(counted[:, None], rows, jnp.zeros_like(rows))
    return pulled.astype(logits.dtype)


def _prepare(
    logits: Float[Array, "n k"],
    teacher: Float[Array, "n k"],
    temperature: float,
    mask: Bool[Array, "n"] | None,
) -> tuple[Float[Array, "n k"], Float[Array, "n k"], Bool[Array, "n"], Float[Array, ""]]:
    """Both logits divided by T, with 0 in the uncounted rows; which rows count, and how many (at least 1)."""
    if not temperature > 0:
        raise InvalidArgument(f"temperature is {temperature}; expected a number above 0, such as 4.")
    dtype = accumulation_dtype(logits.dtype)
    counted = jnp.ones(logits.shape[:1], bool) if mask is None else mask
    # Before the logarithm: a NaN in a row that does not count must not reach the gradient.
    z, t = (
        jnp.where(counted[:, None], values.astype(dtype) / temperature, jnp.zeros((), dtype))
        for values in (logits, jax.lax.stop_gradient(teacher))
    )
    return z, t, counted, jnp.maximum(jnp.sum(counted), 1).astype(dtype)
