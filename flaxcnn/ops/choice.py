"""Which algorithm computes a convolution, its gradients and the sums of batch norm: by platform and by shape.

On accelerators XLA's own path is the fast one, and it is always taken. On the CPU each of the rules below replaces it
where it was measured to be faster (`experiments.throughput`); elsewhere, and for every dtype but float32 and float64,
the plain rule computes. All give the same values but for rounding, forward and in every derivative.

    winograd                  3x3, stride 1: forward and gradient of the input, from 8x8 pixels and 32 channels on
    winograd_kernel_gradient  3x3, stride 1: gradient of the kernel, likewise
    patches                   strided: gradient of the kernel, one matrix product for a block of images
    phases                    strided: gradient of the input, without multiplying by zeros
    matmul                    1x1: one matrix product, of every s-th pixel where it is strided
    two_stage_sums            sums over batch and positions: along the rows of images first, then the rest

`with fast_rules("phases"): ...` allows only those named, `with fast_rules(): ...` none. What is allowed is read when a
function is traced: a compiled function keeps what it was compiled with.
"""

import contextlib
import contextvars
import math
from collections.abc import Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.ops.geometry import Axis

Spatial = tuple[Axis, Axis]
RULES = ("winograd", "winograd_kernel_gradient", "patches", "phases", "matmul", "two_stage_sums")


class Allowed(NamedTuple):
    """What may be used.

    Attributes:
        names: of `RULES`.
        least_work: floating-point operations of a convolution from which on Winograd's algorithm pays; less is done
            before its many small programs are compiled.
    """

    names: frozenset[str] = frozenset(RULES)
    least_work: int = 200_000_000


_EVERY = Allowed()
_allowed: contextvars.ContextVar[Allowed] = contextvars.ContextVar("allowed", default=_EVERY)


def allowed_rules() -> Allowed:
    """The rules that may be used by what is traced now."""
    return _allowed.get()


@contextlib.contextmanager
def fast_rules(*names: str, least_work: int = _EVERY.least_work) -> Iterator[None]:
    """Allow only these rules for what is traced inside; none is the plain rules only.

    Arguments:
        names: of `RULES`.
        least_work: see `Allowed`.

    Raises:
        ValueError: a name that is not in `RULES`.
    """
    if unknown := [name for name in names if name not in RULES]:
        raise ValueError(f"fast_rules got {', '.join(unknown)}; the rules are {', '.join(RULES)}.")
    token = _allowed.set(Allowed(frozenset(names), least_work))
    try:
        yield
    finally:
        _allowed.reset(token)


def rule_of_convolution(
    images: int, kernel: tuple[int, ...], spatial: Spatial, groups: int, dtype: DTypeLike, allowed: Allowed
) -> str:
    """What computes y: "plain", "matmul" or "winograd".

    Arguments:
        images: of the batch.
        kernel: the shape [kh, kw, ci / groups, co].
        spatial, groups, dtype: of the convolution.
        allowed: what may be used.
    """
    if groups > 1 or not _is_wide(dtype):
        return "plain"
    if "matmul" in allowed.names and _is_pointwise(spatial):
        return "matmul"
    return (
        "winograd"
        if "winograd" in allowed.names and _suits_winograd(images, kernel, spatial, allowed)
        else "plain"
    )


def rule_of_input_gradient(
    images: int, kernel: tuple[int, ...], spatial: Spatial, groups: int, dtype: DTypeLike, allowed: Allowed
) -> str:
    """What computes dL/dx: "plain", "matmul", "phases" or "winograd"."""
    if groups > 1 or not _is_wide(dtype):
        return "plain"
    if "matmul" in allowed.names and _is_pointwise(spatial):
        return "matmul"
    if "phases" in allowed.names and any(one.stride > 1 for one in spatial):
        return "phases" if all(one.dilation == 1 and one.window >= one.stride for one in spatial) else "plain"
    # The gradient is a convolution too, padded by 2 less what the images were padded by.
    fits = all(max(one.before, one.after) <= 2 for one in spatial)
    return (
        "winograd"
        if fits and "winograd" in allowed.names and _suits_winograd(images, kernel, spatial, allowed)
        else "plain"
    )


def rule_of_kernel_gradient(
    images: int, kernel: tuple[int, ...], spatial: Spatial, groups: int, dtype: DTypeLike, allowed: Allowed
) -> str:
    """What computes dL/dkernel: "plain", "matmul", "patches" or "winograd"."""
    if groups > 1 or not _is_wide(dtype):
        return "plain"
    if "matmul" in allowed.names and _is_pointwise(spatial):
        return "matmul"
    if "patches" in allowed.names and any(one.stride > 1 for one in spatial):
        return "patches"
    suits = "winograd_kernel_gradient" in allowed.names and _suits_winograd(images, kernel, spatial, allowed)
    return "winograd" if suits else "plain"


def _is_wide(dtype: DTypeLike) -> bool:
    return jnp.dtype(dtype) in (jnp.dtype(jnp.float32), jnp.dtype(jnp.float64))


def _is_pointwise(spatial: Spatial) -> bool:
    return all(one.window == 1 and one.before == one.after == 0 for one in spatial)


def _suits_winograd(images: int, kernel: tuple[int, ...], spatial: Spatial, allowed: Allowed) -> bool:
    """Whether it can be, and pays: at 4x4 the transforms cost more than they save, with few channels too."""
    work = 2 * images * math.prod(kernel) * math.prod(one.output for one in spatial)
    return (
        work >= allowed.least_work
        and min(kernel[2:]) >= 32
        and all(one.window == 3 and one.stride == one.dilation == 1 and one.output >= 8 for one in spatial)
    )
