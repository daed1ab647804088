"""The fully connected layer."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.errors import InvalidArgument


def dense(
    x: Float[Array, "*batch i"], weight: Float[Array, "i o"], bias: Float[Array, "o"] | None = None
) -> Float[Array, "*batch o"]:
    """Apply an affine map to the last axis.

        y[..., o] = bias[o] + sum_i x[..., i] weight[i, o]

    Args:
        x: features [..., i].
        weight: [i, o], the transpose of PyTorch's.
        bias: [o], or None.

    Raises:
        InvalidArgument: the features do not fit the weight.

    Reference: torch.nn.functional.linear.
    """
    if x.shape[-1] != weight.shape[0]:
        raise InvalidArgument(
            f"The input has {x.shape[-1]} features, but the weight of shape {weight.shape} takes "
            f"{weight.shape[0]}: weights are [inputs, outputs]."
        )
    y = jnp.matmul(x, weight)
    return y if bias is None else y + jnp.reshape(bias, (1,) * (y.ndim - 1) + (-1,))


def dense_backward(
    cotangent: Float[Array, "*batch o"], x: Float[Array, "*batch i"], weight: Float[Array, "i o"]
) -> tuple[Float[Array, "*batch i"], Float[Array, "i o"], Float[Array, "o"]]:
    """Pull a cotangent back through dense, to its input, its weight and its bias.

    Flatten the leading axes to N rows: Y = X W + 1 b', with X [N, i], W [i, o], b [o]. For a cotangent
    G = dL/dY [N, o], dL = <G, dX W + X dW + 1 db'> = <G W', dX> + <X' G, dW> + <G' 1, db>, hence

        dL/dX = G W'  [N, i],      dL/dW = X' G  [i, o],      dL/db = sum of G's rows  [o].

    Args:
        cotangent: dL/dy, [..., o].
        x, weight: as given to dense.

    Returns:
        (dL/dx [..., i], dL/dweight [i, o], dL/dbias [o]).

    Reference: Goodfellow, Bengio and Courville 2016, Deep Learning, section 6.5.
    """
    rows = jnp.reshape(cotangent, (-1, cotangent.shape[-1]))
    features = jnp.reshape(x, (-1, x.shape[-1]))
    return jnp.matmul(cotangent, weight.T), jnp.matmul(features.T, rows), jnp.sum(rows, axis=0)
