"""Choose the algorithm of a convolution, of its gradients and of the sums of batch norm, by platform and by shape.

On accelerators XLA's own algorithm is fast and always used. On the CPU a rule of the table below replaces it where the
rule was measured to be faster (`experiments.performance.throughput`). In all other cases, and for every dtype but
float32 and float64, the plain rule computes. The rules differ only in rounding, in the values and in every derivative.

    winograd                  3x3, stride 1: forward and gradient of the input, with at least 64 channels and 8x8
                              pixels, or at least 128 channels and 4x4 pixels
    winograd_kernel_gradient  3x3, stride 1: gradient of the kernel, with the same sizes
    patches                   strided: gradient of the kernel, as one matrix product for each block of images
    phases                    strided: gradient of the input, without multiplications by zero
    matmul                    1x1: one matrix product, of every s-th pixel where the stride is s
    onednn                    all other convolutions and gradients of the input, with groups too, and the matrix
                              products inside the other rules: calls of oneDNN, the library inside XLA's CPU compiler.
                              Off by default, since JAX cannot store such a program in its compilation cache; the
                              training step switches it on
    two_stage_sums            sums over batch and positions: along the rows of the images first, then over the rest
    materialised              an activation is computed once, and not again in every operation that reads it

`with fast_rules("phases"): ...` allows only the named rules, `with fast_rules(): ...` none. The allowed rules are read
when a function is traced: a compiled function keeps the rules with which it was compiled.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

from flaxcnn.errors import InvalidArgument
from flaxcnn.ops.cpu import onednn_support
from flaxcnn.ops.geometry import Axis

Spatial = tuple[Axis, Axis]
RULES = (
    "winograd",
    "winograd_kernel_gradient",
    "patches",
    "phases",
    "matmul",
    "onednn",
    "two_stage_sums",
    "materialised",
)
# The rules that are allowed by default.
USUAL = tuple(name for name in RULES if name != "onednn")


class Allowed(NamedTuple):
    """The rules that may be used, and the size of a convolution from which two of them pay.

    Attributes:
        names: a subset of `RULES`.
        least_work: the floating-point operations of a convolution from which on Winograd's algorithm and oneDNN are
            used. Below it their time to compile outweighs the gain: Winograd's algorithm needs many small programs,
            and a program with oneDNN is compiled again in every process.
    """

    names: frozenset[str] = frozenset(USUAL)
    least_work: int = 200_000_000

    def for_parts_of(self, case: "Case") -> "Allowed":
        """The rules allowed for the parts of a case's rule: oneDNN only if the whole case is large enough for it."""
        names = self.names if case.work >= self.least_work else self.names - {"onednn"}
        return Allowed(names, self.least_work)


_EVERY = Allowed()
_allowed: contextvars.ContextVar[Allowed] = contextvars.ContextVar("allowed", default=_EVERY)


def allowed_rules() -> Allowed:
    """The rules that are allowed in the current trace."""
    return _allowed.get()


@contextlib.contextmanager
def fast_rules(*names: str, least_work: int = _EVERY.least_work) -> Iterator[None]:
    """Allow only these rules for functions traced inside; `*USUAL` is the default, and no name allows plain rules only.

    Args:
        names: a subset of `RULES`.
        least_work: see `Allowed`.

    Raises:
        InvalidArgument: a name that is not in `RULES`.
    """
    if unknown := [name for name in names if name not in RULES]:
        raise InvalidArgument(f"fast_rules got {', '.join(unknown)}; the rules are {', '.join(RULES)}.")
    with allowing(Allowed(frozenset(names), least_work)):
        yield


@contextlib.contextmanager
def allowing(allowed: Allowed) -> Iterator[None]:
    """Make `allowed_rules` return `allowed` for functions traced inside."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


class Case(NamedTuple):
    """The shapes and options of a convolution, which also determine its gradients.

    Attributes:
        images: the number of images in the batch.
        channels: the channels in each group of the input, and those of the whole output.
        spatial: the window geometry of height and width.
        groups: the number of channel groups.
        dtype: the dtype of the arrays.
    """

    images: int
    channels: tuple[int, int]
    spatial: Spatial
    groups: int
    dtype: DTypeLike

    @property
    def work(self) -> int:
        """The number of floating-point operations: two for each multiplication and the addition after it."""
        per_channel = math.prod(axis.window * axis.output for axis in self.spatial)
        return 2 * self.images * math.prod(self.channels) * per_channel


# The name of the rule that every platform has.
PLAIN = "plain"
# The rules that handle several groups of channels.
GROUPED = ("phases", "onednn")
# The rules to try, in order: each a name and a test of the case and the least work.
Candidates = tuple[tuple[str, Callable[[Case, int], bool]], ...]


def rule_of(case: Case, candidates: Candidates, allowed: Allowed) -> str:
    """The name of the first allowed rule that suits a case, or `PLAIN`."""
    if jnp.dtype(case.dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.float64)):
        return PLAIN
    suited = (
        name
        for name, suits in candidates
        if name in allowed.names and (case.groups == 1 or name in GROUPED) and suits(case, allowed.least_work)
    )
    return next(suited, PLAIN)


def _is_pointwise(case: Case, _: int) -> bool:
    return all(axis.window == 1 and axis.before == axis.after == 0 for axis in case.spatial)


def _is_strided(case: Case, _: int) -> bool:
    return any(axis.stride > 1 for axis in case.spatial)


def _has_phases(case: Case, _: int) -> bool:
    """Whether the case is strided and every phase of the positions meets a tap."""
    undilated = all(axis.dilation == 1 and axis.window >= axis.stride for axis in case.spatial)
    return undilated and _is_strided(case, _)


def _suits_winograd(case: Case, least_work: int) -> bool:
    """Whether Winograd's algorithm applies and pays: with few channels the transforms cost more than they save."""
    smallest = 4 if min(case.channels) >= 128 else 8
    return (
        case.work >= least_work
        and min(case.channels) >= 64
        and all(
            axis.window == 3 and axis.stride == axis.dilation == 1 and axis.output >= smallest
            for axis in case.spatial
        )
    )


def _suits_winograd_back(case: Case, least_work: int) -> bool:
    """The same for the gradient of the input: a convolution with padding 2 - p, where the images have padding p."""
    fits = all(max(axis.before, axis.after) <= 2 for axis in case.spatial)
    return fits and _suits_winograd(case, least_work)


def _suits_onednn(case: Case, least_work: int) -> bool:
    """Whether oneDNN computes the case, and may be called in the program that is compiled now."""
    real = jnp.dtype(case.dtype) == jnp.float32 and case.images > 0
    return real and case.work >= least_work and onednn_support.is_usable()


def _suits_onednn_back(case: Case, least_work: int) -> bool:
    """The same for the gradient of the input, a convolution too; a stride would put zeros between its pixels."""
    fits = all(axis.stride == 1 and max(axis.before, axis.after) < axis.span for axis in case.spatial)
    return fits and _suits_onednn(case, least_work)


CONVOLUTION: Candidates = (
    ("matmul", _is_pointwise),
    ("winograd", _suits_winograd),
    ("onednn", _suits_onednn),
)
INPUT_GRADIENT: Candidates = (
    ("matmul", _is_pointwise),
    ("phases", _has_phases),
    ("winograd", _suits_winograd_back),
    ("onednn", _suits_onednn_back),
)
KERNEL_GRADIENT: Candidates = (
    ("matmul", _is_pointwise),
    ("patches", _is_strided),
    ("winograd_kernel_gradient", _suits_winograd),
)
