"""The fast rules for convolutions, called directly: `flaxcnn.ops.cpu.choice` takes them for larger arrays only.

The shapes make several blocks of a batch, and tiles that reach over the border.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from torch import Tensor
from torch.nn import functional, grad

from flaxcnn.ops.cpu import patches, pointwise, strided
from flaxcnn.ops.cpu import winograd as tiles
from flaxcnn.ops.geometry import Axis, axes
from parity.suites.layers.flax_layers import ArrayFunction
from parity.suites.layers.op_runs import Op

# Functions of (images or cotangent, kernel or images, geometry): forward, and the gradients of images and kernel.
ConvolutionRules = tuple[ArrayFunction | None, ArrayFunction | None, ArrayFunction | None]


def winograd(generator: np.random.Generator) -> list[Op]:
    """A batch of several blocks of images and a rest; the cases of `fast_conv` are one block each."""
    rules = tiles.convolution, tiles.input_gradient, tiles.kernel_gradient
    return _convolution(generator, "winograd", rules, (5, 2, 44, 45), (1, 2, 3, 3), padding=1)


def strided_rules() -> ConvolutionRules:
    """The rules of strided convolutions: phases for the images, patches for the kernel."""
    return None, strided.input_gradient_by_phases, patches.kernel_gradient_by_patches


def strided_parts(generator: np.random.Generator) -> list[Op]:
    """Phases with and without taps, patches in blocks, products of pixels."""
    products = pointwise.convolution, pointwise.input_gradient, pointwise.kernel_gradient
    only_patches = None, None, patches.kernel_gradient_by_patches
    return [
        *_convolution(
            generator, "stride 2", strided_rules(), (3, 2, 7, 8), (3, 2, 3, 3), stride=2, padding=1
        ),
        *_convolution(generator, "stride 3", strided_rules(), (2, 2, 8, 9), (3, 2, 2, 1), stride=3),
        *_convolution(generator, "1x1", products, (2, 3, 5, 6), (2, 3, 1, 1)),
        *_convolution(generator, "1x1, strided", products, (2, 3, 6, 7), (2, 3, 1, 1), stride=(2, 3)),
        *_convolution(
            generator, "1x1, strided to the end", products, (2, 3, 5, 7), (2, 3, 1, 1), stride=(2, 3)
        ),
        # With so many windows half of the images, an odd number, are more than a block.
        *_convolution(generator, "patches in blocks", only_patches, (601, 1, 44, 44), (1, 1, 1, 1)),
        *_convolution(
            generator, "dilated patches", only_patches, (1, 2, 7, 8), (2, 2, 2, 2), stride=2, dilation=2
        ),
        _grouped(generator),
    ]


def _convolution(
    generator: np.random.Generator,
    name: str,
    rules: ConvolutionRules,
    shape: tuple[int, ...],
    kernel_shape: tuple[int, ...],
    *,
    stride: Any = 1,
    padding: int = 0,
    dilation: int = 1,
) -> list[Op]:
    """A convolution and its two gradients, as far as there are rules for them."""
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    images, kernel = _normal(generator, *shape), _normal(generator, *kernel_shape)
    n, _, h, w = shape
    spatial = axes((n, h, w, shape[1]), kernel_shape[2:], **options)
    cotangent = _normal(generator, n, kernel_shape[0], *(axis.output for axis in spatial))
    forward, of_images, of_kernel = rules
    parts = []
    if forward is not None:
        parts.append(
            Op(
                f"{name}: output",
                {"images": images, "kernel": kernel},
                lambda images, kernel: functional.conv2d(images, kernel, **options),
                lambda images, kernel: forward(images, kernel, spatial),
            )
        )
    if of_images is not None:
        parts.append(
            Op(
                f"{name}: gradient of the images",
                {"images_back": cotangent, "kernel": kernel},
                lambda images_back, kernel: grad.conv2d_input(shape, kernel, images_back, **options),
                lambda images_back, kernel: of_images(images_back, kernel, spatial),
            )
        )
    if of_kernel is not None:
        parts.append(_kernel_gradient(name, images, cotangent, kernel_shape, of_kernel, spatial, options))
    return parts


def _kernel_gradient(
    name: str,
    images: np.ndarray,
    cotangent: np.ndarray,
    shape: tuple[int, ...],
    rule: ArrayFunction,
    spatial: tuple[Axis, Axis],
    options: dict[str, Any],
) -> Op:
    def by_torch(images: Tensor, images_back: Tensor) -> Tensor:
        return grad.conv2d_weight(images, shape, images_back, **options)

    def by_flax(images: jax.Array, images_back: jax.Array) -> jax.Array:
        # Outputs of four axes are transposed as images are: [o, h, w, i] to [o, i, h, w].
        return jnp.transpose(rule(images_back, images, spatial), (3, 0, 1, 2))

    given = {"images": images, "images_back": cotangent}
    return Op(f"{name}: gradient of the kernel", given, by_torch, by_flax)


def _grouped(generator: np.random.Generator) -> Op:
    """The gradient by phases in groups; some of the phases have no tap."""
    options = {"stride": 3, "groups": 2}
    spatial = axes((2, 7, 8, 4), (3, 2), stride=3, padding=0)
    cotangent, kernel = _normal(generator, 2, 6, 2, 3), _normal(generator, 6, 2, 3, 2)
    return Op(
        "stride 3 in groups: gradient of the images",
        {"images_back": cotangent, "kernel": kernel},
        lambda images_back, kernel: grad.conv2d_input((2, 4, 7, 8), kernel, images_back, **options),
        lambda images_back, kernel: strided.input_gradient_by_phases(images_back, kernel, spatial, 2),
    )


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)
