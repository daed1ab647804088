"""A layer is a function, not a point: every layer and segment is run on synthetic tensors, on both sides alike.

In one run of each side and precision, every matched call is fed synthetic tensors and hands on synthetic tensors, with
synthetic cotangents. So each layer and each segment is compared by itself, forward and backward, on values that the
models' own tensors may never take. See `parity.probe.synthetic` for the values.
"""

import dataclasses
import math

import numpy as np

from parity.capture.intercept import is_floating
from parity.capture.shelf import Arrays
from parity.capture.torch_forced import capture_torch_forced
from parity.capture.trace import Trace
from parity.comparison.entries import Comparison, Runs, all_metrics, entries, forced_sites
from parity.comparison.masks import bits_of_masks, dropout_masks
from parity.errors import CannotCompare
from parity.matching.calls import Alignment
from parity.probe.parameters import Turn, scalars_of, turns, with_parameters
from parity.probe.sides import Sides
from parity.probe.synthetic import EXACT, LARGEST, SMALLEST, SMOOTH, Kind, synthetic
from parity.verdict.metrics import Metrics
from parity.verdict.policy import EPSILON, allowed_in_probe
from parity.verdict.probe import Mode, Phase, Probe
from parity.verdict.record import Quantity

Place = tuple[str, Phase, str]
_KINDS: tuple[Kind, ...] = ("wide", "exact", "small", "constant")
_NUMBERS = ", ".join(f"{number:g}" for number in sorted({abs(number) for number in EXACT}))


def probe_range(
    sides: Sides,
    mode: Mode,
    alignment: Alignment,
    torch: Trace,
    observed: Trace,
    masks: dict[str, np.ndarray],
) -> list[Probe]:
    """Compare every layer and segment on wide and on exact values.

    Args:
        sides: both models.
        mode: in which they run.
        alignment: the sites of that mode.
        torch: a run of PyTorch's side, for the shapes.
        observed: a run of Flax's side, for the shapes.
        masks: PyTorch's dropout factors, by Flax's call.
    """
    if sides.reference.model is None:
        words = "only this input was compared: a capture of PyTorch's side cannot be run on other tensors"
        return [Probe("range", "", mode, "forward", "", "declined", words)]
    of_examples = torch.get("#0", "input")
    examples = of_examples.shape[0] if of_examples is not None and of_examples.ndim else 1
    run = _Run(sides, mode, alignment, torch, observed, masks)
    try:
        differing, smooth = _on_other_tensors(run, examples)
        elsewhere = _with_other_parameters(run)
        kinks = _with_parameters_of_zero(run)
    except CannotCompare as refusal:
        words = f"the models could not be run on synthetic tensors, so their range is unknown: {refusal}"
        return [Probe("range", "", mode, "forward", "", "unprobed", words)]
    layers = sum(site.role == "layer" for site in alignment.sites)
    words = (
        f"{layers} layers and {len(alignment.sites)} segments, forward and backward, on values from 1e{SMALLEST} to "
        f"1e{LARGEST} of both signs, on {_NUMBERS} of both signs, on constants and on zeros"
    )
    if tried := turns(sides):
        words += f"; and with {len(tried)} other sets of parameters, from 1e-5 to 1000 of both signs"
    probes = [Probe("range", "", mode, "forward", "", "agrees", words)]
    forward = {place[0] for place in differing if place[1] != "backward"}
    for place, quantity in differing.items():
        # A derivative that differs at exact numbers alone, where the function itself agrees, is one at a kink.
        at_kink = place not in smooth and place[1] == "backward" and place[0] not in forward
        where = "at exact zeros, ties or constants" if at_kink else "on values of a wide range"
        probes.append(_difference(mode, place, quantity, where, at_kink))
    # What the tensors alone show needs no other parameters.
    others = {place: found for place, found in elsewhere.items() if place not in differing}
    probes += [_difference(mode, place, quantity, where) for place, (quantity, where) in others.items()]
    kinks = {place: found for place, found in kinks.items() if place not in differing and place not in others}
    words = "where all parameters are zero"
    return probes + [_difference(mode, place, quantity, words, True) for place, quantity in kinks.items()]


def _on_other_tensors(run: "_Run", examples: int) -> tuple[dict[Place, Quantity], set[Place]]:
    """What differs on synthetic tensors, and which of the places do so on numbers that hit no kink.

    As many kinds at once as there are examples; and all examples zero, since a norm may be one of the whole batch.
    """
    found = {kinds: run.differences(kinds) for kinds in (*_groups(examples), ("zero",))}
    smooth = {kinds: differing for kinds, differing in found.items() if set(kinds) <= set(SMOOTH)}
    if any(differing for kinds, differing in found.items() if not set(kinds).isdisjoint(SMOOTH)):
        for kinds in _groups(examples, SMOOTH):
            smooth[kinds] = found[kinds] if kinds in found else run.differences(kinds)
    differing = {
        place: quantity for one in (*found.values(), *smooth.values()) for place, quantity in one.items()
    }
    return differing, {place for one in smooth.values() for place in one}


def _groups(examples: int, kinds: tuple[Kind, ...] = _KINDS) -> list[tuple[Kind, ...]]:
    return [kinds[first : first + examples] for first in range(0, len(kinds), max(examples, 1))]


def _with_other_parameters(run: "_Run") -> dict[Place, tuple[Quantity, str]]:
    """What differs with other parameters, and with which: of each place the first."""
    found: dict[Place, tuple[Quantity, str]] = {}
    for turn in turns(run.sides):
        changed = dataclasses.replace(run, sides=with_parameters(run.sides, turn))
        scalars = scalars_of(changed.sides)
        for place, quantity in changed.differences(("usual",)).items():
            if _is_told(quantity, turn):
                found.setdefault(place, (quantity, f"with other parameters{_values_at(place[0], scalars)}"))
    return found


def _with_parameters_of_zero(run: "_Run") -> dict[Place, Quantity]:
    """The derivatives that differ where the functions agree: inside a layer, an activation is given zeros only."""
    if not turns(run.sides):
        return {}
    changed = dataclasses.replace(run, sides=with_parameters(run.sides, "zero"))
    found = changed.differences(("usual",))
    other = {place[0] for place in found if place[1] != "backward"}
    return {
        place: quantity
        for place, quantity in found.items()
        if place[1] == "backward" and place[0] not in other and _is_finite(quantity)
    }


def _is_finite(quantity: Quantity) -> bool:
    assert quantity.introduced is not None
    return math.isfinite(quantity.introduced.gap_max) and math.isfinite(quantity.introduced.worst.torch)


def _is_told(quantity: Quantity, turn: Turn) -> bool:
    """Whether a difference says something: not where PyTorch gives NaN, nor where far parameters overflow."""
    assert quantity.introduced is not None
    gap, torch = quantity.introduced.gap_max, quantity.introduced.worst.torch
    return math.isfinite(torch) and (math.isfinite(gap) or turn not in ("far", "negative"))


def _values_at(name: str, scalars: dict[str, float]) -> str:
    """The parameters of one element that a layer has, in words."""
    own = {n: value for n, value in scalars.items() if n.rpartition(".")[0] == name}
    listed = ", ".join(f"{n.rpartition('.')[2]} = {value:g}" for n, value in own.items())
    return f" ({listed})" if listed else ""


def _difference(mode: Mode, place: Place, quantity: Quantity, where: str, at_kink: bool = False) -> Probe:
    metrics = quantity.introduced
    assert metrics is not None
    values = f"{metrics.worst.torch:.6g} in PyTorch and {metrics.worst.flax:.6g} in Flax"
    name, phase, what = place
    return Probe(
        "kink" if at_kink else "range",
        name,
        mode,
        phase,
        what,
        "differs",
        f"the {what} differs {where}: {values}",
        metrics=metrics,
    )


@dataclasses.dataclass(frozen=True)
class _Run:
    """Runs of both sides, cut at the sites of an alignment."""

    sides: Sides
    mode: Mode
    alignment: Alignment
    torch: Trace
    observed: Trace
    masks: dict[str, np.ndarray]

    def differences(self, kinds: tuple[Kind, ...]) -> dict[Place, Quantity]:
        """What differs on synthetic tensors of these kinds.

        Most gaps of float64 are smaller than rounding always may be. Only if one is not, which is rare, do runs in
        float32 tell how large it is.
        """
        given = self._given(kinds)
        runs = self._in_float64(given)
        found = self._found(runs)
        return self._found(self._with_float32(given, runs)) if found else found

    def _found(self, runs: Runs) -> dict[Place, Quantity]:
        introduced = all_metrics(self.alignment, self.sides.plan, runs, forced=True)
        compared = entries(
            Comparison(self.mode, self.alignment, self.sides.plan, runs.torch64, introduced, {})
        )
        return {
            (entry.name, quantity.phase, quantity.name): quantity
            for entry in compared
            for quantity in entry.quantities
            if quantity.introduced is not None and self._differs(quantity.introduced)
        }

    def _differs(self, metrics: Metrics) -> bool:
        """Whether a gap is one of meaning, and can be told in float32 at the value where it is largest.

        PyTorch's softplus is linear above 20, where no other is: a relative difference of 2e-9 in its derivative.
        """
        if metrics.gap_max <= allowed_in_probe(metrics, self.sides.policy):
            return False
        return not metrics.gap_max <= EPSILON["float32"] * abs(metrics.worst.torch)

    def _in_float64(self, given: Trace) -> Runs:
        """Runs in float64 in the place of those in float32 too, as if nothing were rounded."""
        torch = self._torch(given, "float64")
        flax = self._flax(given, torch, "float64")
        return Runs(torch, torch, flax, flax)

    def _with_float32(self, given: Trace, runs: Runs) -> Runs:
        torch = self._torch(given, "float32")
        return Runs(torch, runs.torch64, self._flax(given, runs.torch64, "float32"), runs.flax64)

    def _inputs(self, given: Trace) -> list[np.ndarray]:
        own = self.sides.reference.inputs
        return [given.arrays.get(f"#0/input/{index}", array) for index, array in enumerate(own)]

    def _masks(self, given: Trace, torch: Trace) -> dict[str, np.ndarray]:
        """PyTorch's dropout factors on the given tensors.

        Those of the run itself lack what no number and no gradient shows there, such as behind a ReLU and a max pool.
        """
        calls = [site.torch for site in self.alignment.sites if site.role == "layer"]
        drawing = {call.key for call in calls if any(inner.draws for inner in torch.inside(call))}
        names = [name for name in torch.arrays if name.rsplit("/", 2)[0] in drawing]
        # What a call was given, and not what arrived there.
        fed = [name for name in names if "/input/" in name or "/output_cotangent/" in name]
        arrays = {name: (given if name in fed else torch).arrays[name] for name in names}
        return dropout_masks(self.alignment, dataclasses.replace(torch, arrays=Arrays(arrays)), self.observed)

    def _given(self, kinds: tuple[Kind, ...]) -> Trace:
        calls = [site.torch for site in self.alignment.sites]
        return synthetic(self.torch, calls, kinds, self.sides.seed, self.sides.reference.inputs[1:])

    def _torch(self, given: Trace, dtype: str) -> Trace:
        assert self.sides.reference.model is not None
        sites = self.alignment.sites
        return capture_torch_forced(
            self.sides.reference.model(),
            given,
            {site.torch.key for site in sites},
            {site.torch.key for site in sites if site.role == "layer"},
            self._inputs(given),
            mode=self.mode,
            dtype=dtype,
            seed=self.sides.seed,
            on_disk=self.sides.reference.on_disk,
            output=self.sides.reference.output,
        )

    def _flax(self, given: Trace, torch64: Trace, dtype: str) -> Trace:
        cast = {n: a.astype(dtype) if is_floating(a) else a for n, a in given.arrays.items()}
        forced = forced_sites(self.alignment, dataclasses.replace(given, arrays=Arrays(cast)), self.observed)
        return self.sides.run_flax(
            self.mode,
            dtype,
            inputs=self.sides.to_flax(self._inputs(given)),
            observed=self.observed,
            forced=forced,
            dropout_masks=self.masks | self._masks(given, torch64),
            bits=bits_of_masks(self.alignment, torch64),
        )
