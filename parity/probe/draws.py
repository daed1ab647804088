"""What a module draws, read from many calls of it, and whether two modules draw alike, by exact tests.

The factors are the outputs divided by the inputs. If they take at most two values, these are what an element is
multiplied by that is kept, and that is dropped; else the module draws noise, and its outputs are compared.

A test needs units that are drawn independently: the examples, or if no call shows a difference between examples, the
calls. Counts of units are compared by Fisher's exact test, numbers by the exact two-sample Kolmogorov-Smirnov test.
"""

import dataclasses
import functools
from typing import Literal, NamedTuple

import numpy as np
from scipy import special, stats

from parity.diagnose.words import number_words

# No more tests than these are made of one layer.
TESTS = 19
# Roundings, of a factor of 1, by which two factors may differ that are one number.
_ROUNDINGS = 8


class Unlike(NamedTuple):
    """How two modules draw unlike, in words."""

    what: Literal["rate", "shape", "noise"]
    torch: str
    flax: str


@dataclasses.dataclass(frozen=True)
class Draws:
    """Many calls of one module.

    Attributes:
        factors: the outputs divided by the inputs, as [calls, examples, ...] with the axes of PyTorch's tensor.
        outputs: of the same shape.
        dropped, kept: the two factors, alike if there is one; None if there are more.
        epsilon: the rounding of the module's dtype.
        is_last: whether the channels are the last axis, not the second.
        is_pattern: whether the factors tell what is kept, and not how it is scaled.
    """

    factors: np.ndarray
    outputs: np.ndarray
    dropped: float | None
    kept: float | None
    epsilon: float
    is_last: bool
    is_pattern: bool = False

    @staticmethod
    def of(outputs: np.ndarray, inputs: np.ndarray, epsilon: float, is_last: bool) -> "Draws":
        """Read the draws from outputs [calls, examples, ...] on the inputs [examples, ...]."""
        factors = outputs / inputs if outputs.shape[1:] == inputs.shape else outputs
        low, high = float(np.min(factors)), float(np.max(factors))
        lies_at = [np.abs(factors - value) <= _tolerance(value, epsilon) for value in (low, high)]
        if not np.all(lies_at[0] | lies_at[1]):
            return Draws(factors, outputs, None, None, epsilon, is_last)
        if abs(high - low) <= _tolerance(high, epsilon):
            low = high
        return Draws(factors, outputs, low, high, epsilon, is_last)

    @property
    def varies(self) -> bool:
        """Whether the calls and elements differ at all."""
        return self.kept is None or self.dropped != self.kept

    @property
    def is_identity(self) -> bool:
        """Whether it does nothing."""
        return (
            self.kept is not None and not self.varies and abs(self.kept - 1) <= _tolerance(1.0, self.epsilon)
        )

    @functools.cached_property
    def mask(self) -> np.ndarray:
        """Where it drops: the lower of two factors, and the only one if that is zero."""
        assert self.kept is not None and self.dropped is not None
        if not self.varies:
            return np.full(self.factors.shape, self.kept == 0)
        return np.abs(self.factors - self.dropped) < np.abs(self.factors - self.kept)

    @functools.cached_property
    def varying(self) -> list[bool]:
        """Whether a call differs along each axis, the first being the examples."""
        values = self.factors if self.kept is None else self.mask
        return [bool(np.any(_varies(values, axis))) for axis in range(1, values.ndim)]

    def words(self) -> str:
        """What it drops, how often, and how it scales."""
        if self.kept is None:
            sizes = f"a mean of {np.mean(self.factors):.3g} and a deviation of {np.std(self.factors):.3g}"
            return f"multiplies by or adds random numbers: of outputs by inputs {sizes}"
        if not self.varies:
            if self.kept == 0:
                return "drops everything"
            if self.is_pattern:
                return "never drops"
            return "never drops" + ("" if self.is_identity else f", scales by {number_words(self.kept)}")
        share = float(np.mean(self.mask))
        if self.is_pattern:
            return f"drops {what_is_dropped(self)} with probability {share:.2g}"
        p = 1 - 1 / self.kept if self.kept > 1 else share
        # A share that the draws would show: five deviations of as many as are independent at least.
        fits = abs(p - share) <= 0.02 + 5 * np.sqrt(max(p * (1 - p), 1e-9) / self.draws())
        how_often = number_words(round(p, 6)) if self.kept > 1 and fits else f"about {share:.2g}"
        scaling = f"scales by {number_words(self.kept)}" if self.kept != 1 else "does not scale what it keeps"
        to = f" to {number_words(self.dropped or 0.0)}" if self.dropped else ""
        return f"drops {what_is_dropped(self)}{to} with probability {how_often}, {scaling}"

    def draws(self) -> int:
        """How many independent draws there are at least."""
        lengths = self.factors.shape[1:]
        return self.factors.shape[0] * int(
            np.prod([n for n, varies in zip(lengths, self.varying, strict=True) if varies])
        )


def _tolerance(value: float, epsilon: float) -> float:
    """The rounding of a factor 1 / (1 - p), whose 1 - p is rounded too."""
    return _ROUNDINGS * epsilon * max(1.0, abs(value)) ** 2


def what_is_dropped(draws: Draws) -> str:
    """What one draw drops: elements, channels, positions or examples."""
    by_example, *rest = draws.varying
    lengths = draws.factors.shape[2:]
    along = {axis for axis, varies in enumerate(rest) if varies}
    open_axes = {axis for axis, length in enumerate(lengths) if length > 1}
    channel = len(lengths) - 1 if draws.is_last else 0
    is_image = len(lengths) > 2
    if not along:
        words = "whole images" if is_image else "whole examples" if open_axes else "examples"
    elif along == open_axes:
        words = "elements"
    elif along == {channel}:
        words = "whole channels"
    elif along == open_axes - {channel}:
        words = "whole positions"
    else:
        words = f"slices along the axes {', '.join(str(axis + 1) for axis in sorted(open_axes - along))}"
    if by_example:
        return words
    return f"{words}, the same in every example" if along else "the whole batch at once"


def unlike(torch: Draws, flax: Draws, level: float) -> list[Unlike]:
    """How two modules draw unlike; each of at most TESTS tests errs with a probability of `level`."""
    by_example = torch.varying[0] or flax.varying[0]
    repeats = [_repeats(torch), _repeats(flax)]
    if repeats[0] != repeats[1] and _is_no_chance(flax if repeats[0] else torch, level):
        said = [
            draws.words() + ", the same in each call" * same
            for draws, same in zip((torch, flax), repeats, strict=True)
        ]
        return [Unlike("shape", *said)]
    if torch.kept is None or flax.kept is None:
        noise = _noise_differs(torch, flax, by_example, level)
        return [Unlike("noise", torch.words(), flax.words())] if noise else []
    both = torch.varies and flax.varies
    shared = both and by_example and _counts_differ(_varies(torch.mask, 1), _varies(flax.mask, 1), level)
    by_example = by_example and not shared
    shape = shared or (both and _extent_differs(torch, flax, by_example, level))
    rate = _rate_differs(torch, flax, by_example, level, shape)
    if rate and both and _means_agree(torch, flax, by_example):
        # As much is dropped, spread in another way over the units.
        rate, shape = False, True
    rate = rate or _factors_differ(torch, flax)
    # Masks of unlike rates change unlike often too.
    shape = shape or (both and not rate and _changes_differ(torch, flax, by_example, level))
    kinds: tuple[tuple[Literal["rate", "shape"], bool], ...] = ("rate", rate), ("shape", shape)
    return [Unlike(what, torch.words(), flax.words()) for what, differs in kinds if differs]


def _repeats(draws: Draws) -> bool:
    """Whether every call drew what the first one drew, as with a key that never changes."""
    values = draws.outputs if draws.kept is None else draws.mask
    return draws.varies and bool(np.all(values == values[0]))


def _is_no_chance(draws: Draws, level: float) -> bool:
    """Whether independent calls that draw as this module does would hardly ever all draw the same."""
    if draws.kept is None:
        return True
    share, calls = float(np.mean(draws.mask)), draws.factors.shape[0]
    a_call = draws.draws() / calls
    return bool((calls - 1) * a_call * np.log(share**2 + (1 - share) ** 2) < np.log(level))


def _factors_differ(torch: Draws, flax: Draws) -> bool:
    """Whether what is kept, or what is dropped, is multiplied by unlike numbers."""
    epsilon = max(torch.epsilon, flax.epsilon)

    def differ(a: float, b: float) -> bool:
        return abs(a - b) > 2 * _tolerance(max(abs(a), abs(b)), epsilon)

    assert None not in (torch.kept, torch.dropped, flax.kept, flax.dropped)
    if torch.varies and flax.varies:
        return differ(torch.kept, flax.kept) or differ(torch.dropped, flax.dropped)  # type: ignore[arg-type]
    if torch.kept == 0 or flax.kept == 0:
        return False
    return differ(torch.kept, flax.kept)  # type: ignore[arg-type]


def _units(values: np.ndarray, by_example: bool) -> np.ndarray:
    """Values [calls, examples, ...] as [units, ...]."""
    return values.reshape(-1, *values.shape[2:]) if by_example else values


def _flat_units(values: np.ndarray, by_example: bool) -> np.ndarray:
    units = _units(values, by_example)
    return units.reshape(len(units), -1)


def _varies(values: np.ndarray, axis: int) -> np.ndarray:
    """For each unit [units, ...], whether its values differ along an axis."""
    differs = np.max(values, axis) != np.min(values, axis)
    return np.any(differs.reshape(len(values), -1), 1)


def _rate_differs(torch: Draws, flax: Draws, by_example: bool, level: float, shape: bool) -> bool:
    masks = [_flat_units(draws.mask, by_example) for draws in (torch, flax)]
    if shape:
        # The shares of the units are spread unlike then; what becomes of one element is not.
        return _counts_differ(masks[0][:, 0], masks[1][:, 0], level)
    shares = [np.mean(mask, 1) for mask in masks]
    return _counts_differ(shares[0] > 0, shares[1] > 0, level) or _numbers_differ(*shares, level)


def _means_agree(torch: Draws, flax: Draws, by_example: bool) -> bool:
    """Whether both drop the same share, to four standard errors; this only names a difference."""
    shares = [np.mean(_flat_units(draws.mask, by_example), 1) for draws in (torch, flax)]
    error = np.sqrt(sum(np.var(share) / len(share) for share in shares))
    return bool(abs(np.mean(shares[0]) - np.mean(shares[1])) <= 4 * error)


def _extent_differs(torch: Draws, flax: Draws, by_example: bool, level: float) -> bool:
    """Whether one side's masks are constant along an axis where the other's are not."""
    masks = [_units(draws.mask, by_example) for draws in (torch, flax)]
    counts = [[_varies(mask, axis) for mask in masks] for axis in range(1, masks[0].ndim)]
    return any(not (a.any() and b.any()) and _counts_differ(a, b, level) for a, b in counts)


def _changes_differ(torch: Draws, flax: Draws, by_example: bool, level: float) -> bool:
    """Whether the masks change more often along an axis on one side, as where it drops blocks."""
    masks = [_units(draws.mask, by_example) for draws in (torch, flax)]
    return any(
        _numbers_differ(*(_flat_units(np.diff(mask, axis=axis), False).mean(1) for mask in masks), level)
        for axis in range(1, masks[0].ndim)
        if masks[0].shape[axis] > 1
    )


def _noise_differs(torch: Draws, flax: Draws, by_example: bool, level: float) -> bool:
    outputs = [_units(draws.outputs, by_example) for draws in (torch, flax)]
    flat = [_flat_units(array, False) for array in outputs]
    numbers = [
        (array[:, 0], array.max(1), array.mean(1), array.std(1), *shapes)
        for array, shapes in zip(flat, _shapes(torch, flax, by_example), strict=True)
    ]
    return any(_numbers_differ(a, b, level) for a, b in zip(*numbers, strict=True)) or any(
        _counts_differ(_varies(outputs[0], axis), _varies(outputs[1], axis), level)
        for axis in range(1, outputs[0].ndim)
    )


def _shapes(torch: Draws, flax: Draws, by_example: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of both sides for each unit, the mean size of its numbers and their mean fourth power.

    These tell two laws of one mean and deviation. Each number is taken relative to those of both sides at its place, so
    that the sides are treated alike, and large inputs count no more than small ones.
    """
    together = np.concatenate([torch.outputs, flax.outputs])
    deviation = together.std(0)
    relative = [
        _flat_units((draws.outputs - together.mean(0)) / np.where(deviation == 0, 1, deviation), by_example)
        for draws in (torch, flax)
    ]
    return [(np.abs(array).mean(1), (array**4).mean(1)) for array in relative]


def _counts_differ(torch: np.ndarray, flax: np.ndarray, level: float) -> bool:
    table = [[int(np.sum(units)), int(np.sum(~units))] for units in (torch, flax)]
    return float(stats.fisher_exact(table).pvalue) < level


def _numbers_differ(torch: np.ndarray, flax: np.ndarray, level: float) -> bool:
    """The Kolmogorov-Smirnov test of two samples of n numbers, by the exact tail of each side.

    A one-sided distance of h / n or more has the probability C(2n, n - h) / C(2n, n), and ties make it rarer.
    """
    n = len(torch)
    h = round(n * float(stats.ks_2samp(torch, flax, method="asymp").statistic))
    log_tail = 2 * special.gammaln(n + 1) - special.gammaln(n - h + 1) - special.gammaln(n + h + 1)
    return bool(np.log(2) + log_tail < np.log(level))
