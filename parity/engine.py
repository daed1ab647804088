"""One comparison under way: both sides, the weights carried over, and the measurements of each mode."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import numpy as np

from parity.capture.adapt import read_map
from parity.capture.flax import capture_flax
from parity.capture.inputs import read_inputs
from parity.capture.memory import release_memory, return_freed_pages
from parity.capture.reference import (
    load_reference,
    not_finite,
    reference_of,
    repeatability,
)
from parity.capture.sampling import with_draws, without_masks
from parity.capture.trace import Trace
from parity.comparison.coverage import Exercise
from parity.comparison.entries import Comparison, Key, Runs, all_metrics, entries, forced_sites
from parity.comparison.finite import begins_on_one_side
from parity.comparison.masks import bits_of_masks, dropout_masks
from parity.comparison.regions import with_regions
from parity.comparison.unpaired import without_unpaired_draws
from parity.comparison.worst_tensors import Tensors
from parity.diagnose.reference_errors import with_reference_errors
from parity.diagnose.run import diagnose
from parity.errors import CannotCompare
from parity.matching.calls import Alignment, align, without_moved_boundaries
from parity.matching.carried import carried
from parity.matching.drawing import pair_drawing, with_masks
from parity.matching.structure import trained_though_frozen, without_repeated
from parity.probe.chance import probe_chance
from parity.probe.range import probe_range
from parity.probe.sides import Sides
from parity.probe.size import Sizes, probe_size
from parity.probe.start import Redraw, probe_start
from parity.probe.steps import probe_steps
from parity.verdict.judge import reference_explains
from parity.verdict.policy import COARSE, Policy
from parity.verdict.probe import Probe
from parity.verdict.record import FORMAT_VERSION, Entry, Finding, Measurements, Metrics, Mode, Note


def modes_of(mode: str) -> tuple[Mode, ...]:
    """The modes that a word stands for.

    Raises:
        CannotCompare: for any word but "train", "eval" and "both".
    """
    table: dict[str, tuple[Mode, ...]] = {"train": ("train",), "eval": ("eval",), "both": ("eval", "train")}
    if mode not in table:
        raise CannotCompare(f"The mode {mode!r} is unknown; choose train, eval or both.")
    return table[mode]


@dataclasses.dataclass(frozen=True)
class _Free:
    """What remains of the runs of one mode in which Flax was not forced.

    `masks`, `bits`: PyTorch's dropout, by Flax's calls and by random keys.
    `compared`: what was, by (name, phase, quantity): segments that draw apart on each side are left out.
    `refusal`: a sentence if one of the runs, PyTorch's too, produced NaN or infinity.
    """

    alignment: Alignment
    observed: Trace
    masks: dict[str, np.ndarray]
    bits: dict[str, np.ndarray]
    inherited: dict[Key, Metrics]
    refusal: str
    compared: frozenset[tuple[str, str, str]] = frozenset()


@dataclasses.dataclass
class Engine:
    """Both sides with PyTorch's weights on each."""

    sides: Sides
    notes: list[Note]
    findings: list[Finding]
    probes: list[Probe]
    sizes: Sizes = "probe"
    probing: bool = True
    redraw: Redraw | None = None
    torch_casts: list[str] = dataclasses.field(default_factory=list)
    places: tuple[_Free, Trace] | None = None  # of the last mode; of PyTorch's run the shapes

    @staticmethod
    def start(
        torch_model: Any,
        flax_model: Any,
        inputs: Any,
        *,
        seed: int,
        mapping: Any,
        objective: str,
        perturbed: bool,
        policy: Policy,
        sizes: Sizes = "probe",
        probing: bool = True,
        settings: tuple[dict[str, Any], dict[str, Any]] | None = None,
        output: str | None = None,
        redraw: Redraw | None = None,
    ) -> "Engine":
        """Prepare both sides and carry the weights from PyTorch to Flax.

        Raises:
            CannotCompare: see `parity.check`.
        """
        if isinstance(torch_model, (str, Path)):
            reference = load_reference(Path(torch_model))
        else:
            arrays = read_inputs(inputs, seed)
            reference = reference_of(
                torch_model, arrays, seed=seed, objective=objective, perturbed=perturbed, output=output
            )
        names = read_map(mapping)
        flax = carried(reference, flax_model, names, seed=seed, settings=settings, output=output)
        sides = Sides(
            reference=reference,
            flax=flax.flax,
            inputs=flax.inputs,
            plan=flax.plan,
            params=flax.params,
            state=flax.state,
            mapping=names,
            seed=seed,
            policy=policy,
            layout=flax.layout,
        )
        return Engine(
            sides,
            [*reference.notes, *flax.notes],
            list(flax.findings),
            [],
            sizes=sizes,
            probing=probing,
            redraw=redraw,
        )

    def measure(self, mode: str) -> tuple[Measurements, Tensors]:
        """Measure every mode that `mode` stands for."""
        modes, exercise, tensors = modes_of(mode), Exercise(), Tensors()
        found: list[Entry] = []
        for one in modes:
            found += self._mode(one, exercise, tensors)
            self._probe(one, modes)
        measurements = Measurements(
            version=FORMAT_VERSION,
            modes=modes,
            entries=tuple(found),
            findings=tuple(dict.fromkeys(self.findings)),
            coverage=exercise.coverage(self.sides.plan),
            notes=(*dict.fromkeys(self.notes), *self._pins()),
            environment=environment(self.sides.flax.framework, self.sides.seed),
            policy=dataclasses.asdict(self.sides.policy),
            probes=tuple(self.probes),
        )
        return measurements, tensors

    def _pins(self) -> list[Note]:
        """What Flax computes in float32 whatever it is given."""
        words = "Flax computes in {} whatever it is given; what it means was judged with the pin lifted, in float64"
        names = {flax: torch for torch, flax in self.sides.plan.modules.items()}
        pins = [
            Note("dtype-pinned", names.get(path, path), words.format(dtype))
            for path, dtype in self.sides.flax.pins.items()
        ]
        sides = {"PyTorch": self.torch_casts, "Flax": self.sides.flax.casts}
        words = "{} casts to float32 at {}; what it means was judged without the cast, in float64"
        lines = {side: dict.fromkeys(filter(None, casts)) for side, casts in sides.items()}
        return pins + [
            Note("dtype-pinned", "", words.format(side, ", ".join(found)))
            for side, found in lines.items()
            if found
        ]

    def _probe(self, mode: Mode, modes: tuple[Mode, ...]) -> None:
        """Look for differences that this input cannot show."""
        assert self.places is not None
        free, torch = self.places
        if not self.probing:
            words = "only this input was compared, as asked"
            self.probes += [Probe("range", "", mode, "forward", "", "declined", words)]
            return
        self.probes += probe_chance(self.sides, mode, free.alignment, torch, free.observed)
        if mode == "train":
            self.probes += probe_steps(self.sides, free.alignment, free.observed)
        found = probe_range(self.sides, mode, free.alignment, torch, free.observed, free.masks)
        known = {(probe.kind, probe.name, probe.phase, probe.quantity) for probe in self.probes}
        self.probes += [
            probe
            for probe in found
            if (probe.outcome != "differs" or (probe.name, probe.phase, probe.quantity) in free.compared)
            and (probe.kind, probe.name, probe.phase, probe.quantity) not in known
        ]
        if mode == modes[0]:
            self.probes += probe_size(self.sides, mode, free.alignment, self.sizes)
            self.probes += probe_start(self.sides, mode, self.redraw)

    def _mode(self, mode: Mode, exercise: Exercise, tensors: Tensors) -> list[Entry]:
        torch32, torch64 = self.sides.reference.traces(mode)
        self.torch_casts += torch64.casts
        # A model that pins its own precision in PyTorch too is compared as it is.
        self.sides.flax.unpin = self.sides.flax.unpin and not is_pinned(torch64)
        if is_large(torch64):
            release_memory()
        free = self._free(mode, torch32, torch64, exercise, tensors)

        def forced(alignment: Alignment) -> tuple[Runs, dict[Key, Metrics]]:
            cut = dataclasses.replace(free, alignment=alignment)
            flax = (self._forced(mode, t.dtype, cut, t) for t in (torch32, torch64))
            runs = Runs(torch32, torch64, *flax)
            found = all_metrics(alignment, self.sides.plan, runs, forced=True)
            return runs, compared_with(alignment, found).introduced

        def compared_with(alignment: Alignment, introduced: dict[Key, Metrics]) -> Comparison:
            made = Comparison(mode, alignment, self.sides.plan, torch64, introduced, free.inherited)
            return without_unpaired_draws(made, free.observed) if self.probing else made

        cut = free.alignment, *forced(free.alignment)
        alignment, runs, introduced = with_regions(*cut, forced, self.sides.policy)
        free = dataclasses.replace(free, alignment=alignment)
        comparison = compared_with(alignment, introduced)
        unmatched_flax = {name: self.sides.params[name] for name in self.sides.plan.unmatched_flax}
        found = with_reference_errors(
            entries(comparison),
            free.alignment,
            torch64,
            self.sides.reference.derivative_error,
            self.sides.policy,
        )
        compared = frozenset((entry.name, q.phase, q.name) for entry in found for q in entry.quantities)
        free = dataclasses.replace(free, compared=compared)
        if free.refusal:
            if not begins_on_one_side(found, torch64):
                raise CannotCompare(free.refusal)
            # Where only one side is finite the models differ, and no convention explains it.
            self.notes.append(Note("not-finite", "", free.refusal))
            self.places = free, torch64.shapes_only()
            return found
        inexact = frozenset(
            (entry.name, q.name)
            for entry in found
            for q in entry.quantities
            if q.introduced is not None and reference_explains(q, q.introduced)
        )
        causes, remarks = diagnose(
            comparison, runs, self.sides.reference.weights, unmatched_flax, inexact, self.sides.policy
        )
        self.findings = without_repeated(self.findings, causes)
        self.notes += remarks
        self.places = free, torch64.shapes_only()
        return found

    def _free(
        self, mode: Mode, torch32: Trace, torch64: Trace, exercise: Exercise, tensors: Tensors
    ) -> "_Free":
        """Run Flax as it is, and keep of it what the forced runs and the report need."""
        observed = self._run(mode, "float32", seed=self.sides.seed + 1)
        observed = with_draws(
            observed, self.sides.flax, self.sides.params, self.sides.state, self.sides.inputs, self.sides.seed
        )
        alignment = align(torch64, observed, self.sides.plan.modules, self.sides.mapping)
        if random := pair_drawing(alignment, torch64, observed):
            alignment = align(torch64, observed, self.sides.plan.modules, {**random, **self.sides.mapping})
        alignment = with_masks(alignment, torch64, observed)
        observed = without_masks(observed, [pair.mask for pair in alignment.masks])
        masks, bits = dropout_masks(alignment, torch64, observed), bits_of_masks(alignment, torch64)
        options = {
            "observed": observed,
            "output_cotangents": _output_cotangents(alignment, torch64, observed),
            "dropout_masks": masks,
            "bits": bits,
        }
        flax32 = self._run(mode, "float32", **options)
        flax64 = self._run(mode, "float64", **options)
        self.notes += repeatability(observed, flax32, "Flax")
        sides = ((torch32, "PyTorch"), (torch64, "PyTorch"), (flax32, "Flax"), (flax64, "Flax"))
        refusal = next(filter(None, (not_finite(trace, side) for trace, side in sides)), "")
        alignment = without_moved_boundaries(alignment, torch64, flax64)
        self.notes += alignment.notes
        exercise.add(alignment, self.sides.plan, torch64, flax64, self.sides.reference.frozen)
        self.findings += trained_though_frozen(self.sides.plan, self.sides.reference.frozen, flax64)
        runs = Runs(torch32, torch64, flax32, flax64)
        tensors.add(mode, alignment, runs)
        inherited = all_metrics(alignment, self.sides.plan, runs, forced=False)
        return _Free(alignment, observed.shapes_only(), masks, bits, inherited, refusal)

    def _run(self, mode: str, dtype: str, seed: int | None = None, **options: Any) -> Trace:
        trace = capture_flax(
            self.sides.flax,
            self.sides.params,
            self.sides.state,
            self.sides.inputs,
            mode=mode,
            dtype=dtype,
            seed=self.sides.seed if seed is None else seed,
            on_disk=self.sides.reference.on_disk,
            **options,
        )
        if is_large(trace):
            return_freed_pages()
        return trace

    def _forced(self, mode: str, dtype: str, free: "_Free", torch: Trace) -> Trace:
        forced = forced_sites(free.alignment, torch, free.observed)
        masks = {"dropout_masks": free.masks, "bits": free.bits}
        return self._run(mode, dtype, observed=free.observed, forced=forced, **masks)


def is_pinned(torch64: Trace) -> bool:
    """Whether a float64 run of PyTorch's has floating tensors of another dtype."""
    return any(
        torch64.precision(call, "output", index) in ("float32", *COARSE)
        for call in torch64.calls
        for index in range(call.outputs)
    )


def is_large(trace: Trace) -> bool:
    """Whether memory is worth the time that giving it back takes, up to half a second."""
    return trace.arrays.nbytes() > 2**27


def _output_cotangents(alignment: Alignment, torch: Trace, observed: Trace) -> list[Any]:
    last = alignment.sites[-1]
    return list(forced_sites(Alignment((last,), ()), torch, observed)[last.flax.key].output_cotangents)


def environment(framework: str, seed: int) -> dict[str, str]:
    """Versions and device of a comparison."""
    import flax
    import jax
    import torch

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "jax": jax.__version__,
        "flax": flax.__version__,
        "framework": framework,
        "device": jax.devices()[0].device_kind,
        "seed": str(seed),
    }
