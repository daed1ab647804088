"""A layer is a function, not a point: every layer and segment is run on synthetic tensors, on both sides alike.

In one run of each side and precision, every matched call is fed synthetic tensors and hands on synthetic tensors, with
synthetic cotangents. So each layer and each segment is compared by itself, forward and backward, on values that the
models' own tensors may never take. See `parity.probe.synthetic` for the values.
"""

import dataclasses

import numpy as np

from parity.capture.intercept import is_floating
from parity.capture.shelf import Arrays
from parity.capture.torch_forced import capture_torch_forced
from parity.capture.trace import Trace
from parity.comparison.entries import Comparison, Runs, all_metrics, entries, forced_sites
from parity.comparison.masks import bits_of_masks, dropout_masks
from parity.errors import CannotCompare
from parity.matching.calls import Alignment
from parity.probe.sides import Sides
from parity.probe.synthetic import EXACT, LARGEST, SMALLEST, Kind, synthetic
from parity.verdict.metrics import Metrics
from parity.verdict.policy import EPSILON, allowed_in_probe
from parity.verdict.probe import Mode, Phase, Probe
from parity.verdict.record import Entry, Quantity

Place = tuple[str, Phase, str]
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
        if examples > 1:
            differing = run.differences(("wide", "exact"))
            wide = run.differences(("wide",)) if differing else {}
        else:
            wide = run.differences(("wide",))
            differing = wide | run.differences(("exact",))
    except CannotCompare as refusal:
        words = f"the models could not be run on synthetic tensors, so their range is unknown: {refusal}"
        return [Probe("range", "", mode, "forward", "", "unprobed", words)]
    layers = sum(site.role == "layer" for site in alignment.sites)
    words = (
        f"{layers} layers and {len(alignment.sites)} segments, forward and backward, on values from 1e{SMALLEST} to "
        f"1e{LARGEST} of both signs, on {_NUMBERS} of both signs, and on constants"
    )
    probes = [Probe("range", "", mode, "forward", "", "agrees", words)]
    forward = {place[0] for place in differing if place[1] != "backward"}
    for place, quantity in (differing | wide).items():
        # A derivative that differs at exact numbers alone, where the function itself agrees, is one at a kink.
        at_kink = place not in wide and place[1] == "backward" and place[0] not in forward
        probes.append(_difference(mode, place, quantity, at_kink))
    return probes


def _difference(mode: Mode, place: Place, quantity: Quantity, at_kink: bool) -> Probe:
    metrics = quantity.introduced
    assert metrics is not None
    values = f"{metrics.worst.torch:.6g} in PyTorch and {metrics.worst.flax:.6g} in Flax"
    where = "at exact zeros, ties or constants" if at_kink else "on values of a wide range"
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
        """What differs on synthetic tensors of these kinds."""
        return {
            (entry.name, quantity.phase, quantity.name): quantity
            for entry in self._entries(kinds)
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

    def _entries(self, kinds: tuple[Kind, ...]) -> list[Entry]:
        given = self._given(kinds)
        inputs = [
            given.arrays.get(f"#0/input/{index}", array)
            for index, array in enumerate(self.sides.reference.inputs)
        ]
        torch32, torch64 = (self._torch(given, inputs, dtype) for dtype in ("float32", "float64"))
        options = {
            "dropout_masks": self.masks | self._masks(given, torch64),
            "bits": bits_of_masks(self.alignment, torch64),
        }
        flax32, flax64 = (self._flax(given, inputs, dtype, options) for dtype in ("float32", "float64"))
        runs = Runs(torch32, torch64, flax32, flax64)
        introduced = all_metrics(self.alignment, self.sides.plan, runs, forced=True)
        return entries(Comparison(self.mode, self.alignment, self.sides.plan, runs.torch64, introduced, {}))

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

    def _torch(self, given: Trace, inputs: list[np.ndarray], dtype: str) -> Trace:
        assert self.sides.reference.model is not None
        sites = self.alignment.sites
        return capture_torch_forced(
            self.sides.reference.model(),
            given,
            {site.torch.key for site in sites},
            {site.torch.key for site in sites if site.role == "layer"},
            inputs,
            mode=self.mode,
            dtype=dtype,
            seed=self.sides.seed,
            on_disk=self.sides.reference.on_disk,
            output=self.sides.reference.output,
        )

    def _flax(
        self, given: Trace, inputs: list[np.ndarray], dtype: str, options: dict[str, dict[str, np.ndarray]]
    ) -> Trace:
        cast = {n: a.astype(dtype) if is_floating(a) else a for n, a in given.arrays.items()}
        forced = forced_sites(self.alignment, dataclasses.replace(given, arrays=Arrays(cast)), self.observed)
        return self.sides.run_flax(
            self.mode,
            dtype,
            inputs=self.sides.to_flax(inputs),
            observed=self.observed,
            forced=forced,
            **options,
        )
