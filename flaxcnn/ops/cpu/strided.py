"""The gradient of a strided convolution with respect to its input, without multiplications by zero."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from flaxcnn.ops.cpu.parts import convolution_with_exchanged
from flaxcnn.ops.geometry import Axis, axis


def input_gradient_by_phases(
    cotangent: Float[Array, "n ho wo co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int = 1,
) -> Float[Array, "n h w ci"]:
    """Pull a cotangent back through a convolution of stride s to its input, one phase of positions at a time.

    Along one axis, position r of the input with r + p = s u + phase, 0 <= phase < s, is read only by the taps
    a = phase + s m of the kernel, for the outputs i = u - m:

        dL/dx[r] = sum_m kernel[phase + s m] g[u - m],

    a convolution of the cotangent with every s-th tap, at stride 1. The phases are then interleaved. The usual
    rule puts s - 1 zeros between the cotangents and multiplies by them: s^2 times the work in two axes.

    Args:
        cotangent: dL/dy.
        kernel: as given to the convolution, with dilation 1.
        spatial: the geometry of the convolution.
        groups: the number of channel groups.

    Reference: Dumoulin and Visin 2016, section 4.5, for the usual rule; Shi et al. 2016, for the phases.
    """
    height, width = spatial
    rows = []
    for top in range(height.stride):
        parts = [
            _phase(cotangent, kernel, spatial, groups, (_phase_at(top, height), _phase_at(left, width)))
            for left in range(width.stride)
        ]
        rows.append(jnp.stack(parts, axis=3))
    whole = jnp.stack(rows, axis=2)
    n, h, s, w, t, channels = whole.shape
    return jnp.reshape(whole, (n, h * s, w * t, channels))[:, : height.length, : width.length]


def _phase_at(offset: int, axis: Axis) -> int:
    """The phase of the positions offset, offset + s, ..."""
    return (offset + axis.before) % axis.stride


def _phase(
    cotangent: Float[Array, "n ho wo co"],
    kernel: Float[Array, "kh kw cig co"],
    spatial: tuple[Axis, Axis],
    groups: int,
    phases: tuple[int, int],
) -> Float[Array, "n h2 w2 ci"]:
    """Every s-th row and t-th column of the gradient, padded to the same number for every phase."""
    taps = kernel[phases[0] :: spatial[0].stride, phases[1] :: spatial[1].stride]
    counts = [-(-full.length // full.stride) for full in spatial]
    if 0 in taps.shape[:2]:
        return jnp.zeros((cotangent.shape[0], *counts, kernel.shape[2] * groups), cotangent.dtype)
    read = []
    for full, phase, count, size in zip(spatial, phases, counts, taps.shape[:2], strict=True):
        first = -((phase - full.before) // full.stride)  # the smallest u with a position that is not negative
        before = size - 1 - first
        read.append(axis(full.output, size, 1, 1, (before, count + size - 1 - full.output - before)))
    height, width = read
    return convolution_with_exchanged(cotangent, taps, (height, width), groups)
