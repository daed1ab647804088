"""Which algorithm computes a convolution, its gradients and the sums of batch norm: by platform and by shape.

On accelerators XLA's own path is the fast one, and it is always taken. On the CPU each of the rules below replaces it
where it was measured to be faster (`experiments.performance.throughput`); elsewhere, and for every dtype but
float32 and float64, the plain rule computes. All give the same values but for rounding, forward and in every
derivative.

    winograd                  3x3, stride 1: forward and gradient of the input, from 64 channels and 8x8 pixels on, or
                              from 128 channels and 4x4 pixels on
    winograd_kernel_gradient  3x3, stride 1: gradient of the kernel, likewise
    patches                   strided: gradient of the kernel, one matrix product for a block of images
    phases                    strided: gradient of the input, without multiplying by zeros
    matmul                    1x1: one matrix product, of every s-th pixel where it is strided
    onednn                    what is left of the forward rule and of the gradient of the input, groups included, and
                              the products inside the other rules: calls of the library that XLA brings along; only
                              where asked for, as the training step does, since JAX cannot keep such a program in its
                              compilation cache
    two_stage_sums            sums over batch and positions: along the rows of images first, then the rest
    materialised              an activation is computed once, and not again in whatever reads it

`with fast_rules("phases"): ...` allows only those named, `with fast_rules(): ...` none. What is allowed is read when a
function is traced: a compiled function keeps what it was compiled with.
"""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax.numpy as jnp
from jax.typing import DTypeLike

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
# What is used unless something else is said.
USUAL = tuple(name for name in RULES if name != "onednn")


class Allowed(NamedTuple):
    """What may be used.

    Attributes:
        names: of `RULES`.
        least_work: floating-point operations of a convolution from which on Winograd's algorithm and oneDNN pay; less
            is done before the one's many small programs, and the other's in every process anew, are compiled.
    """

    names: frozenset[str] = frozenset(USUAL)
    least_work: int = 200_000_000

    def for_parts_of(self, case: "Case") -> "Allowed":
        """The same for what a rule is made of, which is smaller than the case that the rule computes."""
        names = self.names if case.work >= self.least_work else self.names - {"onednn"}
        return Allowed(names, self.least_work)


_EVERY = Allowed()
_allowed: contextvars.ContextVar[Allowed] = contextvars.ContextVar("allowed", default=_EVERY)


def allowed_rules() -> Allowed:
    """The rules that may be used by what is traced now."""
    return _allowed.get()


@contextlib.contextmanager
def fast_rules(*names: str, least_work: int = _EVERY.least_work) -> Iterator[None]:
    """Allow only these rules for what is traced inside; `*USUAL` are the default, and none is the plain rules only.

    Arguments:
        names: of `RULES`.
        least_work: see `Allowed`.

    Raises:
        ValueError: a name that is not in `RULES`.
    """
    if unknown := [name for name in names if name not in RULES]:
        raise ValueError(f"fast_rules got {', '.join(unknown)}; the rules are {', '.join(RULES)}.")
    with allowing(Allowed(frozenset(names), least_work)):
        yield


@contextlib.contextmanager
def allowing(allowed: Allowed) -> Iterator[None]:
    """Let `allowed_rules` give this for what is traced inside."""
    token = _allowed.set(allowed)
    try:
        yield
    finally:
        _allowed.reset(token)


class Case(NamedTuple):
    """A convolution to be computed, or one of its gradients.

    Attributes:
        images: of the batch.
        channels: in each group of the input, and of the whole output.
        spatial: its geometry.
        groups: of channels.
        dtype: of the arrays.
    """

    images: int
    channels: tuple[int, int]
    spatial: Spatial
    groups: int
    dtype: DTypeLike

    @property
    def work(self) -> int:
        """Its floating-point operations, 2 for a product and its sum."""
        return (
            2 * self.images * math.prod(self.channels) * math.prod(a.window * a.output for a in self.spatial)
        )


# The name of what every platform has.
PLAIN = "plain"
# The rules that know of groups of channels.
GROUPED = ("phases", "onednn")
# What suits a case, the first first: a rule and whether the case and the least work are for it.
Candidates = tuple[tuple[str, Callable[[Case, int], bool]], ...]


def rule_of(case: Case, candidates: Candidates, allowed: Allowed) -> str:
    """The name of the rule that computes a case, or `PLAIN`."""
    if jnp.dtype(case.dtype) not in (jnp.dtype(jnp.float32), jnp.dtype(jnp.float64)):
        return PLAIN
    suited = (
        name
        for name, suits in candidates
        if name in allowed.names and (case.groups == 1 or name in GROUPED) and suits(case, allowed.least_work)
    )
    return next(suited, PLAIN)


def _is_pointwise(case: Case, _: int) -> bool:
    return all(one.window == 1 and one.before == one.after == 0 for one in case.spatial)


def _is_strided(case: Case, _: int) -> bool:
    return any(one.stride > 1 for one in case.spatial)


def _has_phases(case: Case, _: int) -> bool:
    """Whether every phase of the positions meets a tap."""
    undilated = all(one.dilation == 1 and one.window >= one.stride for one in case.spatial)
    return undilated and _is_strided(case, _)


def _suits_winograd(case: Case, least_work: int) -> bool:
    """Whether it can be, and pays: the fewer channels, the less work there is for what the transforms cost."""
    smallest = 4 if min(case.channels) >= 128 else 8
    return (
        case.work >= least_work
        and min(case.channels) >= 64
        and all(a.window == 3 and a.stride == a.dilation == 1 and a.output >= smallest for a in case.spatial)
    )


def _suits_winograd_back(case: Case, least_work: int) -> bool:
    """The gradient of the input is a convolution too, padded by 2 less what the images were padded by."""
    fits = all(max(one.before, one.after) <= 2 for one in case.spatial)
    return fits and _suits_winograd(case, least_work)


def _suits_onednn(case: Case, least_work: int) -> bool:
    """Whether the library computes it, and may be called in what is compiled now."""
    real = jnp.dtype(case.dtype) == jnp.float32 and case.images > 0
    return real and case.work >= least_work and onednn_support.is_usable()


def _suits_onednn_back(case: Case, least_work: int) -> bool:
    """The gradient of the input is a convolution too; a stride would put zeros between its pixels."""
    fits = all(one.stride == 1 and max(one.before, one.after) < one.span for one in case.spatial)
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
