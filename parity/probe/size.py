"""Equal at one size is not equal at every size: both models run on images of other sizes, and on another batch.

The runs are forward only, and nothing is forced. The first place whose tensors differ is where the models part. A size
that one model refuses is said, and is no difference. See `parity.probe.resized` for the sizes.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from parity.capture.trace import Trace
from parity.comparison.entries import Runs, coarsest, precision_at
from parity.comparison.masks import bits_of_masks, dropout_masks
from parity.comparison.metrics import measure
from parity.errors import CannotCompare
from parity.matching.axes import fits, to_torch
from parity.matching.calls import Alignment, Site, without_moved_boundaries
from parity.probe.resized import Trial, drawn, trials, words_of
from parity.probe.sides import Sides
from parity.probe.written import masks_here
from parity.verdict.policy import allowed_gap, explained
from parity.verdict.probe import Mode, Outcome, Probe
from parity.verdict.record import Metrics

Sizes = Literal["probe", "same"]


def probe_size(sides: Sides, mode: Mode, alignment: Alignment, sizes: Sizes = "probe") -> list[Probe]:
    """Compare the models on inputs of other sizes.

    Args:
        sides: both models.
        mode: in which they run.
        alignment: the sites of that mode at the size that was given.
        sizes: "same" compares nothing, and says so.
    """
    given = words_of(tuple(x.shape for x in sides.reference.inputs))
    if sizes == "same":
        words = f"only the size {given} was compared, as asked (--sizes same)"
        return [_probe(mode, "declined", words)]
    if sides.reference.model is None:
        words = f"only the size {given} was compared: a capture of PyTorch's side cannot be run on another"
        return [_probe(mode, "declined", words)]
    tried = [
        one for series in trials(sides.reference.inputs) for one in _tried(sides, mode, alignment, series)
    ]
    remarks = [_probe(mode, "agrees", one.refusal) for one in tried if one.refusal]
    differences = [one.difference for one in tried if one.difference is not None]
    return [_probe(mode, "agrees", _summary(given, tried)), *remarks, *differences]


def _probe(mode: Mode, outcome: Outcome, words: str) -> Probe:
    return Probe("size", "", mode, "forward", "", outcome, words)


@dataclasses.dataclass(frozen=True)
class _Tried:
    """What came of a trial.

    Attributes:
        trial: the shapes.
        result: "compared" where both models accepted it, "refused" where neither did, "refused by one", "too large", or
            "random" where both draw random numbers, each its own.
        refusal: by one model, in a sentence.
        difference: where the models part.
    """

    trial: Trial
    result: Literal["compared", "refused", "refused by one", "too large", "random"]
    refusal: str = ""
    difference: Probe | None = None

    @property
    def size(self) -> str:
        """The shapes, in words."""
        return words_of(self.trial.shapes)


def _tried(sides: Sides, mode: Mode, alignment: Alignment, series: list[Trial]) -> Iterator[_Tried]:
    """The trials of a series, up to the first that both models accept."""
    for trial in series:
        if trial.is_too_large(sides.reference.inputs):
            yield _Tried(trial, "too large")
            continue
        found = _try(sides, mode, alignment, trial)
        yield found
        if found.result in ("compared", "random"):
            return


def _try(sides: Sides, mode: Mode, alignment: Alignment, trial: Trial) -> _Tried:
    both = _Both(sides, mode, alignment, drawn(trial, sides.reference.inputs, sides.seed))
    torch = _accepted(lambda: both.torch("float64"))
    flax = _accepted(lambda: both.flax("float64", torch if isinstance(torch, Trace) else None))
    size = words_of(trial.shapes)
    if isinstance(torch, Trace) and isinstance(flax, Trace):
        if both.differ_by_chance(torch):
            return _Tried(trial, "random")
        return _Tried(trial, "compared", difference=_Parting(both, torch, flax, size).first())
    if isinstance(torch, Trace):
        return _Tried(trial, "refused by one", f"Flax refuses the size {size}, which PyTorch accepts: {flax}")
    if isinstance(flax, Trace):
        return _Tried(
            trial, "refused by one", f"PyTorch refuses the size {size}, which Flax accepts: {torch}"
        )
    return _Tried(trial, "refused")


def _accepted(run: Callable[[], Trace]) -> Trace | str:
    """The run, or why there is none."""
    try:
        return run()
    except CannotCompare as refusal:
        return str(refusal).split("; check the input's shape")[0]
    except Exception as error:  # a model may raise anything at a size that it was not written for
        lines = str(error).strip().splitlines()
        return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _summary(given: str, tried: list[_Tried]) -> str:
    def listed(result: str) -> str:
        return ", ".join(dict.fromkeys(one.size for one in tried if one.result == result))

    compared = [one for one in tried if one.result == "compared"]
    if not compared:
        words = f"only the size {given} was compared, so the verdict is for this size"
    else:
        words = f"{len(compared)} other size{'s' * (len(compared) > 1)}: {listed('compared')}"
    resized = any(one.trial.resized for one in tried)
    if compared and resized and not any(one.trial.resized for one in compared):
        words += "; but for its batch, the verdict is for this size"
    if listed("refused"):
        words += f"; both models refuse {listed('refused')}"
    if listed("random"):
        words += "; beyond it the models draw random numbers that differ by chance: compare in eval mode"
    if listed("too large"):
        words += f"; too large to be tried: {listed('too large')}"
    return words


@dataclasses.dataclass
class _Both:
    """Both models on other inputs; `masks`, `bits`: PyTorch's dropout, by Flax's calls and keys, once both have run."""

    sides: Sides
    mode: Mode
    alignment: Alignment
    inputs: list[np.ndarray]
    masks: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    bits: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def torch(self, dtype: str) -> Trace:
        """A run of PyTorch's side."""
        return self.sides.run_torch(self.mode, dtype, self.inputs)

    def flax(self, dtype: str, torch: Trace | None) -> Trace:
        """A run of Flax's side, with the dropout of a run of PyTorch's."""
        inputs = self.sides.to_flax(self.inputs)

        def run() -> Trace:
            masks = {"dropout_masks": self.masks, "bits": self.bits}
            return self.sides.run_flax(self.mode, dtype, inputs=inputs, **masks)

        found = run()
        if torch is None or self.masks or self.bits or not any(call.draws for call in torch.calls):
            return found
        self.masks = dropout_masks(self.alignment, torch, found)
        self.bits = bits_of_masks(masks_here(self.sides, self.alignment, found, inputs), torch)
        return run()

    def differ_by_chance(self, torch: Trace) -> bool:
        """Whether PyTorch's side draws what Flax's cannot be given."""
        masked = [site.torch for site in self.alignment.sites if site.flax.key in self.masks]
        given = {call.key for layer in masked for call in torch.inside(layer)}
        given |= {pair.torch.key for pair in self.alignment.masks if pair.told.key in self.bits}
        return any(call.draws and call.key not in given for call in torch.calls)


@dataclasses.dataclass(frozen=True)
class _Place:
    """A tensor at a site: what `Entry.name` calls the layer or segment that makes it, and its label there."""

    name: str
    site: Site
    what: str
    index: int
    label: str


def _places(alignment: Alignment) -> Iterator[_Place]:
    """Every tensor in execution order: what a layer is given before what it makes of it."""
    previous = "input"
    for site in alignment.sites:
        segment = f"{previous} -> {site.name}"
        parts = [(segment, "input"), (site.name, "output")] if site.role == "layer" else [(segment, "output")]
        for name, what in parts:
            count = site.torch.inputs if what == "input" else site.torch.outputs
            for index in range(count):
                yield _Place(name, site, what, index, what if count == 1 else f"{what} {index}")
        previous = site.shown or site.name


@dataclasses.dataclass
class _Parting:
    """Looks for the place where the free runs part.

    The float32 runs tell how much of a gap is rounding. They are made only if a gap is larger than rounding always may
    be, which is rare.
    """

    both: _Both
    torch64: Trace
    flax64: Trace
    size: str

    def first(self) -> Probe | None:
        """The first place whose tensors differ."""
        alignment = without_moved_boundaries(self.both.alignment, self.torch64, self.flax64)
        for place in _places(alignment):
            found = self._difference(place)
            if found is not None:
                return found
        return None

    def _difference(self, place: _Place) -> Probe | None:
        b = self.torch64.get(place.site.torch, place.what, place.index)
        a = self.flax64.get(place.site.flax, place.what, place.index)
        if a is None or b is None:
            return None
        if not fits(b.shape, a.shape):
            shapes = (
                f"{words_of((b.shape,))} in PyTorch and {words_of((_as_torch(a.shape, b.shape),))} in Flax"
            )
            return self._probe(place, f"has the shape {shapes}", None)
        readings = _readings(a.shape, b.shape, place.site.torch.last_axis)
        if any(self._is_rounding(b, read(a)) for read in readings):
            return None
        found = [self._metrics(place, b, a, read) for read in readings]
        metrics = min(found, key=lambda one: one.gap_max)
        if metrics.gap_max <= allowed_gap(metrics, self.both.sides.policy):
            return None
        values = f"{metrics.worst.torch:.6g} in PyTorch and {metrics.worst.flax:.6g} in Flax"
        return self._probe(place, f"differs: {values}", metrics)

    def _probe(self, place: _Place, words: str, metrics: Metrics | None) -> Probe:
        message = f"at the size {self.size} the {place.label} {words}"
        return Probe(
            "size", place.name, self.both.mode, "forward", place.label, "differs", message, metrics=metrics
        )

    def _is_rounding(self, b: np.ndarray, a: np.ndarray) -> bool:
        """Whether a gap is small enough whatever the float32 runs give."""
        b, a = b.astype(np.float64, copy=False), a.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore", over="ignore"):
            gap, scale = float(np.max(np.abs(a - b), initial=0.0)), float(np.max(np.abs(b), initial=0.0))
        return gap <= explained(0.0, scale, self.both.sides.policy)

    def _metrics(self, place: _Place, b: np.ndarray, a: np.ndarray, read: "_Reading") -> Metrics:
        runs = self._runs
        b32 = runs.torch32.get(place.site.torch, place.what, place.index)
        a32 = runs.flax32.get(place.site.flax, place.what, place.index)
        b32, a32 = b if b32 is None else b32, a if a32 is None else a32
        precision = coarsest(*(precision_at(runs, site) for site in self.both.alignment.sites))
        return measure(b32, b, read(a32), read(a), precision)

    @functools.cached_property
    def _runs(self) -> Runs:
        torch32 = _accepted(lambda: self.both.torch("float32"))
        torch32 = torch32 if isinstance(torch32, Trace) else self.torch64
        flax32 = _accepted(lambda: self.both.flax("float32", torch32))
        return Runs(torch32, self.torch64, flax32 if isinstance(flax32, Trace) else self.flax64, self.flax64)


_Reading = Callable[[np.ndarray], np.ndarray]


def _readings(flax_shape: tuple[int, ...], torch_shape: tuple[int, ...], last_axis: bool) -> list[_Reading]:
    """How a tensor of Flax's may be read in PyTorch's layout: two ways where its axes are of one length."""
    readings: list[_Reading] = [lambda a: to_torch(a, torch_shape, last_axis)]
    if flax_shape == torch_shape and len(set(torch_shape[1:])) == 1 and len(torch_shape) > 2:
        readings = [lambda a: a, lambda a: np.moveaxis(a, -1, 1)]
    return readings


def _as_torch(flax_shape: tuple[int, ...], torch_shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape of Flax's with the channels second, if it seems to have them last."""
    if len(flax_shape) != len(torch_shape) or len(flax_shape) < 3 or flax_shape[-1] != torch_shape[1]:
        return flax_shape
    return (flax_shape[0], flax_shape[-1], *flax_shape[1:-1])
