"""Two-dimensional convolution."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.cpu import bilinear
from flaxcnn.ops.cpu.plain_convolution import plain_input_gradient, plain_kernel_gradient
from flaxcnn.ops.geometry import Axis, Padding, Pair, axes, check_images, pair


def conv2d(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    bias: Float[Array, "co"] | None = None,
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> Float[Array, "n ho wo co"]:
    """Convolve images with a kernel (in the field's sense: a correlation, the kernel is not flipped).

    With stride (s, t), dilation (d, e), and p, q the padding above and to the left,

        y[n, i, j, o] = bias[o] + sum_{a, b, m} x[n, i s + a d - p, j t + b e - q, m] kernel[a, b, m, o],

    where positions outside the image hold zero. With G groups the channels fall into G equal, consecutive
    parts, and the outputs of a part see the inputs of the same part only, so the kernel's third dimension
    is ci / G.

    Args:
        x: images [n, h, w, ci].
        kernel: [kh, kw, ci / groups, co].
        bias: [co], or None.
        stride: an int or (height, width).
        padding: an int, (height, width), or ((top, bottom), (left, right)).
        dilation: the distance between two taps of the kernel, an int or (height, width).
        groups: into how many parts the channels fall; ci for a depthwise convolution.

    Raises:
        InvalidArgument: an option is out of its range, the channels do not fit the kernel and the groups, or
            the kernel is larger than the padded image.

    `flaxcnn.ops.cpu.choice` chooses the algorithm of the convolution and of its gradients. The algorithms differ
    only in rounding.

    Reference: torch.nn.functional.conv2d; Dumoulin and Visin 2016, A guide to convolution arithmetic.
    """
    spatial = _axes(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    y = bilinear.convolution(x, kernel, spatial, groups)
    return y if bias is None else y + jnp.reshape(bias, (1, 1, 1, -1))


def conv2d_backward(
    cotangent: Float[Array, "n ho wo co"],
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    *,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[Float[Array, "n h w ci"], Float[Array, "kh kw cig co"], Float[Array, "co"]]:
    """Pull a cotangent back through conv2d, to its input, its kernel and its bias.

    y is linear in each of x, kernel and bias. With g = dL/dy, the coefficients give, along one axis (the other
    is the same, and batch and channels are summed where they are contracted):

        dL/dx[r]      = sum_{i, a : i s + a d - p = r}  kernel[a] g[i]
        dL/dkernel[a] = sum_i  x[i s + a d - p] g[i]
        dL/dbias      = sum_i  g[i]

    Both sums over i are convolutions again:

    - *Input.* Put s - 1 zeros between the cotangents, g^[i s] = g[i], of length s (ho - 1) + 1. Then
      dL/dx[r] = sum_a kernel[a] g^[r + p - a d]: g^ correlated with the flipped kernel at dilation d,
      inputs and outputs exchanged within each group. The kernel spans d (k - 1) + 1, so d (k - 1) - p zeros
      go before g^, and after it as many as make the result h long: positions that no window reached get 0.
    - *Kernel.* dL/dkernel[a] is x at the positions a d - p + i s: x correlated with g as a kernel whose
      taps lie s apart, moved in strides of d, k times. The batch is contracted, so it takes the role of
      the channels. The trailing positions of x that no window reached are cropped; otherwise the kernel could
      come out too long.

    Args:
        cotangent: dL/dy, [n, ho, wo, co].
        x, kernel: as given to conv2d.
        stride, padding, dilation, groups: as given to conv2d.

    Returns:
        (dL/dx [n, h, w, ci], dL/dkernel [kh, kw, ci / groups, co], dL/dbias [co]).

    Raises:
        InvalidArgument: as conv2d.

    Reference: Dumoulin and Visin 2016, A guide to convolution arithmetic, section 4.
    """
    spatial = _axes(x, kernel, stride=stride, padding=padding, dilation=dilation, groups=groups)
    return (
        plain_input_gradient(cotangent, kernel, spatial, groups),
        plain_kernel_gradient(cotangent, x, spatial, groups),
        jnp.sum(cotangent, axis=(0, 1, 2)),
    )


def _axes(
    x: Float[Array, "n h w ci"],
    kernel: Float[Array, "kh kw cig co"],
    *,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    groups: int,
) -> tuple[Axis, Axis]:
    """Solve the geometry of a convolution; raise if the channels do not fit the kernel and the groups."""
    check_images(x.shape)
    channels, (kh, kw, inputs, outputs) = x.shape[3], kernel.shape
    if groups < 1 or channels % groups or outputs % groups:
        raise InvalidArgument(
            f"groups is {groups}, but it must be at least 1 and divide the {channels} input channels and "
            f"the {outputs} output channels."
        )
    if inputs * groups != channels:
        raise InvalidArgument(
            f"The kernel of shape {kernel.shape} takes {inputs} x {groups} groups channels, but "
            f"the input has {channels}: its third dimension must be {channels // groups}."
        )
    strides, dilations = pair(stride, "stride", minimum=1), pair(dilation, "dilation", minimum=1)
    return axes(x.shape, (kh, kw), stride=strides, padding=padding, dilation=dilations)
