"""The weights that the two models come with: does training start from the same distributions?

Weights go from PyTorch to Flax before anything is compared, so nothing else looks at them. Constants must be equal; for
all other arrays two-sample Kolmogorov-Smirnov tests ask whether the numbers may come from one distribution. The error
rate holds for all arrays together (Bonferroni). An array with few elements says little: both models are drawn again.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from parity.capture.initial import flax_arrays, torch_arrays
from parity.capture.intercept import is_floating
from parity.capture.kinds import NORM
from parity.matching.link import Link
from parity.probe.sides import Sides
from parity.verdict.probe import Mode, Probe

# Builds both models again, with another seed.
Redraw = Callable[[int], tuple[Any, Any]]
Arrays = dict[str, np.ndarray]

ERROR_RATE = 1e-4
# An array with fewer elements is drawn again until there are so many, so many times at most.
_FEW, _REDRAWS = 64, 15
# So many elements of an array are tested: enough to tell a normal from a uniform distribution of one variance.
_MOST = 2**15


def probe_start(sides: Sides, mode: Mode, redraw: Redraw | None = None) -> list[Probe]:
    """Compare the initial values of every array, by distribution.

    Args:
        sides: both models; the values are those before PyTorch's were carried over.
        mode: under which the outcome is listed.
        redraw: builds both models again.
    """
    initial = sides.reference.initial
    if not initial:
        words = "the initial weights were not compared: this capture of PyTorch's side does not hold them"
        return [Probe("start", "", mode, "forward", "", "declined", words)]
    pairs = _pairs(sides, redraw)
    if not pairs:
        return []
    tested = sum(pair.is_random() for pair in pairs)
    different = [pair for pair in pairs if pair.differs(ERROR_RATE / max(tested, 1))]
    powerless = sum(pair.is_random() and not pair.can_tell(ERROR_RATE / tested) for pair in pairs)
    words = (
        f"{len(pairs)} arrays: constants exactly, {tested} by Kolmogorov-Smirnov tests with an error rate of "
        f"{ERROR_RATE:g} in all" + (f", {powerless} of them too small to tell" if powerless else "")
    )
    kinds = {owner.path: owner.kind for owner in sides.reference.owners}
    groups: dict[str, list[_Pair]] = {}
    for pair in different:
        groups.setdefault(pair.id(kinds), []).append(pair)
    agrees = [] if different else [Probe("start", "", mode, "forward", "", "agrees", words)]
    return agrees + [_difference(id, mode, group, len(pairs)) for id, group in groups.items()]


@dataclasses.dataclass(frozen=True)
class _Pair:
    """The draws of one array of both sides, each flat; equal draws are listed once."""

    link: Link
    torch: list[np.ndarray]
    flax: list[np.ndarray]

    def differs(self, level: float) -> bool:
        """Whether the two sides have different distributions, at this error rate."""
        if self._same_numbers():
            return False
        if self.is_random():
            return _p_value(_pooled(self.torch), _pooled(self.flax)) < level
        return not (_is_constant(self.torch) and _is_constant(self.flax) and self._may_be_random())

    def is_random(self) -> bool:
        """Whether neither side is a constant and the numbers are not the same, so that a test must tell."""
        return not (_is_constant(self.torch) or _is_constant(self.flax) or self._same_numbers())

    def can_tell(self, level: float) -> bool:
        """Whether any numbers of this size could differ at this error rate."""
        n, m = (sum(draw.size for draw in draws) for draws in (self.torch, self.flax))
        return n + m > 2 * _FEW or 2 / math.comb(n + m, n) < level

    def size(self) -> int:
        """How many numbers there are of the side that has fewer."""
        return min(sum(draw.size for draw in draws) for draws in (self.torch, self.flax))

    def is_small(self) -> bool:
        """Whether more draws would say more."""
        return self.size() < _FEW and not self._same_numbers()

    def id(self, kinds: dict[str, str]) -> str:
        """The id of the catalogue for a difference."""
        owner, _, leaf = self.link.torch.rpartition(".")
        if leaf in ("running_mean", "running_var"):
            return "bn-stats-touched-at-init"
        zero = any(_is_constant(draws) and not draws[0].any() for draws in (self.torch, self.flax))
        return "zero-gamma" if zero and leaf == "weight" and kinds.get(owner) == NORM else "init-distribution"

    def _same_numbers(self) -> bool:
        torch, flax = self.torch[0], self.flax[0]
        return (torch.min(), torch.max()) == (flax.min(), flax.max()) and np.array_equal(
            np.sort(torch), np.sort(flax)
        )

    def _may_be_random(self) -> bool:
        """One number of each side may be drawn or chosen; 0 and 1 are chosen."""
        alone = all(len(draws) == 1 and draws[0].size == 1 for draws in (self.torch, self.flax))
        return alone and not {float(self.torch[0][0]), float(self.flax[0][0])} & {0.0, 1.0}


def _pairs(sides: Sides, redraw: Redraw | None) -> list[_Pair]:
    torch, flax = sides.reference.initial, {**sides.flax.params, **sides.flax.state}
    pairs = [
        _Pair(link, [torch[link.torch].ravel()], [np.ravel(flax[link.flax])])
        for link in sides.plan.links
        if link.torch in torch and link.flax in flax and torch[link.torch].size
        if is_floating(torch[link.torch]) and is_floating(flax[link.flax])
    ]
    small = [pair for pair in pairs if pair.is_small() and not _is_decided(pair)]
    for number in range(1, _REDRAWS + 1) if small and redraw is not None else ():
        torch_model, flax_model = redraw(sides.seed + number)
        drawn = torch_arrays(torch_model), flax_arrays(flax_model, sides.flax, sides.inputs, number)
        changed = [_add(pair, *drawn) for pair in small]
        # A factory that fixes its own seed gives the same again.
        if not any(changed) or all(pair.size() >= _FEW for pair in small):
            break
    return pairs


def _is_decided(pair: _Pair) -> bool:
    """Whether several different numbers stand against a constant: nothing more need be drawn."""
    return pair.torch[0].size > 1 and pair.flax[0].size > 1 and not pair.is_random()


def _add(pair: _Pair, torch: Arrays, flax: Arrays) -> bool:
    """Add a draw of both sides; whether any was new."""
    new = False
    for draws, drawn in ((pair.torch, torch.get(pair.link.torch)), (pair.flax, flax.get(pair.link.flax))):
        if drawn is not None and not any(np.array_equal(np.ravel(drawn), known) for known in draws):
            draws.append(np.ravel(drawn))
            new = True
    return new


def _is_constant(draws: list[np.ndarray]) -> bool:
    return all(draw.min() == draw.max() == draws[0][0] for draw in draws)


def _pooled(draws: list[np.ndarray]) -> np.ndarray:
    numbers = np.concatenate(draws)
    if numbers.size <= _MOST:
        return numbers
    return numbers[np.random.default_rng(9).integers(0, numbers.size, _MOST)]


def _p_value(torch: np.ndarray, flax: np.ndarray) -> float:
    small = max(torch.size, flax.size) < 1000
    return float(stats.ks_2samp(torch, flax, method="exact" if small else "asymp").pvalue)


def _words(draws: list[np.ndarray]) -> str:
    if _is_constant(draws):
        return f"{float(draws[0][0]):g}"
    numbers = np.concatenate(draws).astype(np.float64)
    return f"{numbers.mean():.2g} \u00b1 {numbers.std():.2g} in [{numbers.min():.2g}, {numbers.max():.2g}]"


_FIXES = {
    "zero-gamma": "start the last scale of a block where PyTorch does",
    "bn-stats-touched-at-init": "initialise in evaluation mode, or drop the statistics that init returns",
    "init-distribution": "give the Flax layer PyTorch's initialiser (parity explain init-distribution)",
}


def _difference(id: str, mode: Mode, pairs: list[_Pair], number: int) -> Probe:
    shown = [f"{p.link.torch} ({_words(p.torch)} in PyTorch, {_words(p.flax)} in Flax)" for p in pairs[:3]]
    rest = f" and {len(pairs) - len(shown)} more" if len(pairs) > len(shown) else ""
    owner, _, leaf = pairs[0].link.torch.rpartition(".")
    return Probe(
        "start",
        owner or "model",
        mode,
        "forward",
        f"initial {leaf}",
        "differs",
        f"the weights that the two models come with differ in {len(pairs)} of {number} arrays: "
        f"{', '.join(shown)}{rest}",
        id=id,
        torch=f"{pairs[0].link.torch} starts at {_words(pairs[0].torch)}",
        flax=f"{pairs[0].link.flax} starts at {_words(pairs[0].flax)}",
        fix=_FIXES[id],
    )
