"""A state has a history: two training calls in a row, every statistic compared after each, every output in each.

A cumulative average (`BatchNorm2d(momentum=None)`) and a plain copy of the batch's statistics agree after the first
call. The second has another input. Both sides go on from their own state, so that a counter that only one side keeps
counts; every layer of Flax is fed PyTorch's tensors, so that no difference is inherited, and no dropout makes one.
"""

import dataclasses

import numpy as np
import torch

from parity.capture.flax import capture_flax
from parity.capture.intercept import is_floating
from parity.capture.shelf import Arrays
from parity.capture.torch import capture_torch, prepare, tensors_from
from parity.capture.trace import Trace
from parity.comparison.entries import Runs, all_metrics, forced_sites, precision_at
from parity.comparison.metrics import measure
from parity.errors import CannotCompare
from parity.matching.calls import Alignment, Site
from parity.matching.link import Link
from parity.probe.sides import Sides
from parity.verdict.policy import allowed_gap
from parity.verdict.probe import Probe
from parity.verdict.record import Metrics

Inputs = list[np.ndarray]


def probe_steps(sides: Sides, alignment: Alignment, observed: Trace) -> list[Probe]:
    """Compare the state after each of two training calls.

    Args:
        sides: both models.
        alignment: the sites in train mode.
        observed: a run of Flax's side in train mode, for the shapes.
    """
    links = [
        link
        for link in sides.plan.links
        if link.flax in sides.state and is_floating(sides.state[link.flax]) and not link.torch_trainable
    ]
    if not links:
        return []
    if sides.reference.model is None:
        words = "a second training call was not compared: a capture of PyTorch's side holds one call only"
        return [Probe("steps", "", "train", "state", "", "declined", words)]
    calls = _Calls(sides, alignment, observed)
    try:
        places = calls.places(links)
        return _compared(sides, alignment, places, calls.runs()) if places else []
    except CannotCompare as refusal:
        words = (
            f"the models could not be called a second time, so what their state becomes is unknown: {refusal}"
        )
        return [Probe("steps", "", "train", "state", "", "unprobed", words)]


@dataclasses.dataclass(frozen=True)
class _Place:
    """A state that is compared: the link, the name of its layer, and the layer's site if it has one."""

    link: Link
    name: str
    site: Site | None


def _compared(sides: Sides, alignment: Alignment, places: list[_Place], calls: list[Runs]) -> list[Probe]:
    probes = []
    for place in places:
        first, second = (_metrics(place, runs) for runs in calls)
        if first is None or second is None or not first.gap_max <= allowed_gap(first, sides.policy):
            continue  # seen in the run itself
        if second.gap_max <= allowed_gap(second, sides.policy):
            continue
        leaf = place.link.torch.rpartition(".")[2]
        words = (
            f"{leaf} agrees after one training call and differs after a second: {second.worst.torch:.6g} in PyTorch "
            f"and {second.worst.flax:.6g} in Flax"
        )
        probes.append(Probe("steps", place.name, "train", "state", leaf, "differs", words, metrics=second))
    layers = len({place.name for place in places})
    noun = "layer" if layers == 1 else "layers"
    words = f"{len(places)} statistics of {layers} {noun}, after each of two training calls"
    outputs = _outputs(sides, alignment, calls)
    return [Probe("steps", "", "train", "state", "", "agrees", words), *probes, *outputs]


def _outputs(sides: Sides, alignment: Alignment, calls: list[Runs]) -> list[Probe]:
    """The layers whose output differs in the second call only, as that of a counter may; none that draws."""
    first, second = (all_metrics(alignment, sides.plan, runs, forced=True) for runs in calls)
    probes = []
    for site in alignment.sites:
        if site.role != "layer" or any(call.draws for call in calls[0].torch64.inside(site.torch)):
            continue
        for index in range(site.torch.outputs):
            key = site.torch.key, "output", index
            if key not in first or key not in second:
                continue
            agreed, differs = first[key], second[key]
            if not agreed.gap_max <= allowed_gap(agreed, sides.policy):
                continue  # seen in the run itself
            if differs.gap_max <= allowed_gap(differs, sides.policy):
                continue
            label = "output" if site.torch.outputs == 1 else f"output {index}"
            words = (
                f"the {label} agrees in one training call and differs in a second: {differs.worst.torch:.6g} in "
                f"PyTorch and {differs.worst.flax:.6g} in Flax"
            )
            probes.append(
                Probe("steps", site.name, "train", "forward", label, "differs", words, metrics=differs)
            )
    return probes


def _metrics(place: _Place, runs: Runs) -> Metrics | None:
    torch64 = runs.torch64.arrays.get(f"state_after/{place.link.torch}")
    flax32, flax64 = (t.arrays.get(f"state_after/{place.link.flax}") for t in (runs.flax32, runs.flax64))
    if torch64 is None or flax32 is None or flax64 is None:
        return None
    to_torch = place.link.layout.to_torch
    precision = precision_at(runs, place.site) if place.site is not None else "float64"
    return measure(torch64.astype(np.float32), torch64, to_torch(flax32), to_torch(flax64), precision)


@dataclasses.dataclass(frozen=True)
class _Calls:
    """Two training calls of each side, the second from the state after the first."""

    sides: Sides
    alignment: Alignment
    observed: Trace

    def places(self, links: list[Link]) -> list[_Place]:
        """The states that are computed from PyTorch's tensors alone.

        That of a layer is, since the layer is fed them. That of a container is where nothing is drawn at random.
        """
        layers = {s.torch.path: s for s in self.alignment.sites if s.role == "layer"}
        owners = {link: link.torch.rpartition(".")[0] for link in links}
        found = [_Place(link, layers[o].name, layers[o]) for link, o in owners.items() if o in layers]
        others = [
            _Place(link, owner or "model", None) for link, owner in owners.items() if owner not in layers
        ]
        return found + others if others and not self._draws() else found

    def runs(self) -> list[Runs]:
        """Both calls; PyTorch's in float64 only."""
        model = self._model()
        states = dict.fromkeys(("float32", "float64"), self.sides.state)
        calls = []
        for inputs in (
            self.sides.reference.inputs,
            other_inputs(self.sides.reference.inputs, self.sides.seed),
        ):
            given = self._torch(model, inputs)
            flax = {dtype: self._flax(given, inputs, dtype, state) for dtype, state in states.items()}
            states = {dtype: _state_after(trace) for dtype, trace in flax.items()}
            calls.append(Runs(given, given, flax["float32"], flax["float64"]))
        return calls

    def _model(self) -> torch.nn.Module:
        assert self.sides.reference.model is not None
        return self.sides.reference.model()

    def _torch(self, model: torch.nn.Module, inputs: Inputs) -> Trace:
        return capture_torch(
            model,
            inputs,
            mode="train",
            dtype="float64",
            seed=self.sides.seed,
            objective=None,
            with_inputs=True,
            on_disk=self.sides.reference.on_disk,
            output=self.sides.reference.output,
        )

    def _flax(self, given: Trace, inputs: Inputs, dtype: str, state: dict[str, np.ndarray]) -> Trace:
        cast = {n: a.astype(dtype) if is_floating(a) else a for n, a in given.arrays.items()}
        forced = forced_sites(self.alignment, dataclasses.replace(given, arrays=Arrays(cast)), self.observed)
        return capture_flax(
            self.sides.flax,
            self.sides.params,
            state,
            self.sides.to_flax(inputs),
            mode="train",
            dtype=dtype,
            seed=self.sides.seed,
            forced=forced,
            on_disk=self.sides.reference.on_disk,
        )

    def _draws(self) -> bool:
        """Whether PyTorch's model draws random numbers in train mode."""
        model = prepare(self._model(), "train", "float64")
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            before = torch.get_rng_state()
            model(*tensors_from(self.sides.reference.inputs, "float64"))
            return not torch.equal(before, torch.get_rng_state())


def _state_after(trace: Trace) -> dict[str, np.ndarray]:
    prefix = "state_after/"
    return {n.removeprefix(prefix): a for n, a in trace.arrays.items() if n.startswith(prefix)}


def other_inputs(inputs: Inputs, seed: int) -> Inputs:
    """Inputs of the same shapes and ranges, with other statistics.

    Whole numbers, which may be positions in a table, are shuffled. Others are shuffled and drawn towards the smallest,
    so that the mean over all and the variance change too.
    """
    generator = np.random.default_rng((seed, 8))
    others = []
    for x in inputs:
        shuffled = generator.permutation(x.ravel()).reshape(x.shape)
        if not is_floating(x):
            others.append(shuffled)
        elif x.size and np.min(x) != np.max(x):
            lowest = np.min(x)
            others.append((lowest + generator.uniform(0.25, 0.75) * (shuffled - lowest)).astype(x.dtype))
        else:
            others.append(generator.standard_normal(x.shape).astype(x.dtype))
    return others
