"""The gradient of a strided convolution with respect to its input, without multiplying by zeros."""

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

    One axis. Position r of the input with r + p = s u + phase, 0 <= phase < s, meets only the taps
    a = phase + s m of the kernel, and at those the outputs i = u - m:

        dL/dx[r] = sum_m kernel[phase + s m] g[u - m],

    a convolution of stride 1 of the cotangent with every s-th tap. The phases are put together in turn. The
    usual rule puts s - 1 zeros between the cotangents and multiplies by them: s^2 times as much in two axes.

    Arguments:
        cotangent: dL/dy.
        kernel: as given to the convolution; dilation 1.
        spatial: its geometry.
        groups: of channels.

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
    """Every s-th row and t-th column of the gradient, filled up to the same number for every phase."""
    taps = kernel[phases[0] :: spatial[0].stride, phases[1] :: spatial[1].stride]
    counts = [-(-one.length // one.stride) for one in spatial]
    if 0 in taps.shape[:2]:
        return jnp.zeros((cotangent.shape[0], *counts, kernel.shape[2] * groups), cotangent.dtype)
    seen = []
    for one, phase, count, size in zip(spatial, phases, counts, taps.shape[:2], strict=True):
        first = -((phase - one.before) // one.stride)  # the smallest u with a position that is not negative
        before = size - 1 - first
        seen.append(axis(one.output, size, 1, 1, (before, count + size - 1 - one.output - before)))
    height, width = seen
    return convolution_with_exchanged(cotangent, taps, (height, width), groups)
