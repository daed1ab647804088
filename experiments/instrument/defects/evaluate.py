"""Evaluates one mutant or one clean pair: the proof, the check and the baselines; the result is plain data."""

import dataclasses
import time
from typing import Any

import numpy as np

from experiments.instrument.defects.baselines import Opinion, opinions
from experiments.instrument.defects.flax_side import flax_model
from experiments.instrument.defects.generator import clean_pair
from experiments.instrument.defects.graph import Graph
from experiments.instrument.defects.mutants import Mutant, inputs_of, plant_of
from experiments.instrument.defects.oracle import Proof, prove
from experiments.instrument.defects.runs import moded, seeded_torch
from experiments.instrument.defects.torch_side import TorchGraph
from parity.errors import CannotCompare, OutputsDiffer

UPDATE = "update"


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a mutant or a clean pair.

    Attributes:
        name, id, host, style, depth, severity, held_out: of the mutant; a clean pair has the id "".
        proof: the float64 proof of whether the pair is equivalent; equivalent mutants are not checked.
        verdict: that of the check: "divergent", "equivalent", "inconclusive", or "refused"; "" if not checked.
        locations: the exact locations.
        location: that of the first named cause; without a named cause, the first divergence; for a refusal "", or
            "-> output" if the outputs have different shapes.
        causes: the ids that the check named, in order.
        sentence: the summary of the check, or its refusal.
        seconds: the time of the check.
        baselines: the opinion of each baseline; empty for trainings, which they do not see.
    """

    name: str
    id: str
    host: str
    style: str
    depth: str
    severity: str
    held_out: bool
    proof: Proof
    verdict: str
    locations: tuple[str, ...]
    location: str
    causes: tuple[str, ...]
    sentence: str
    seconds: float
    baselines: dict[str, Opinion]

    @property
    def counts(self) -> bool:
        """Whether it is a mutant that is not equivalent."""
        return bool(self.id) and not self.proof.equivalent

    @property
    def detected(self) -> bool:
        """Whether the check found a difference; a refusal because of the outputs' shapes counts."""
        return self.verdict == "divergent" or (self.verdict == "refused" and bool(self.location))

    @property
    def located(self) -> bool:
        """Whether the location named first is exact."""
        return self.detected and is_exact(self.location, self.locations)

    @property
    def named(self) -> bool:
        """Whether the first cause named is the planted one."""
        return self.detected and self.causes[:1] == (self.id,)


def is_exact(location: str, locations: tuple[str, ...]) -> bool:
    """Whether a location is one of `locations`; "-> fc" stands for all segments that end at fc, and for "before fc"."""
    location = f" -> {location.removeprefix('before ')}" if location.startswith("before ") else location
    return any(
        location == exact or (exact.startswith("-> ") and location.endswith(f" {exact}"))
        for exact in locations
    )


def evaluate(mutant: Mutant, seed: int) -> Result:
    """Prove that a mutant of a model differs, then check it. `trained` evaluates the mutants of training."""
    host, plant = plant_of(mutant)
    graph = host.graph()
    inputs = inputs_of(host, graph)
    proof = prove(graph, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    if proof.equivalent:
        return result(mutant, proof, "", "", (), "equivalent in float64: discarded", 0.0, {})
    asked = opinions(graph, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    checked = _checked(graph, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    return result(mutant, proof, *checked, asked)


def evaluate_clean(number: int, seed: int) -> Result:
    """Check a pair without a defect."""
    pair = clean_pair(number, seed)
    mutant = Mutant(
        pair.name, "", "generated", pair.style, path="", depth="", severity="", locations=(), held_out=False
    )
    proof = prove(pair.graph, pair.graph, pair.style, pair.inputs, seed)
    asked = opinions(pair.graph, pair.graph, pair.style, pair.inputs, seed)
    checked = _checked(pair.graph, pair.graph, pair.style, pair.inputs, seed, dead=False)
    return result(mutant, proof, *checked, asked)


def result(
    mutant: Mutant,
    proof: Proof,
    verdict: str,
    location: str,
    causes: tuple[str, ...],
    sentence: str,
    seconds: float,
    asked: dict[str, Opinion],
) -> Result:
    """The result of a mutant."""
    m = mutant
    return Result(
        m.name,
        m.id,
        m.host,
        m.style,
        m.depth,
        m.severity,
        m.held_out,
        proof,
        verdict,
        m.locations,
        location,
        causes,
        sentence,
        seconds,
        asked,
    )


def _checked(
    torch_graph: Graph, flax_graph: Graph, style: str, inputs: list[np.ndarray], seed: int, *, dead: bool
) -> tuple[Any, ...]:
    """(verdict, location, causes, sentence, seconds) of `parity.check`."""
    import parity

    model: TorchGraph = seeded_torch(torch_graph, seed, dead=dead)
    start = time.perf_counter()
    try:
        report = parity.check(
            model,
            flax_model(flax_graph, style),
            inputs,
            mode="both" if moded(torch_graph) else "eval",
            seed=seed,
            perturb=not dead,
            # What a run itself shows is measured here; a probe would add its own findings and as much time again.
            probes=False,
        )
    except OutputsDiffer as error:
        causes = (error.cause,) if error.cause else ()
        return "refused", "-> output", causes, str(error), time.perf_counter() - start
    except Exception as error:
        # A refusal is one sentence. Any other exception is a fault of the instrument and counts as a miss too.
        sentence = str(error) if isinstance(error, CannotCompare) else f"{type(error).__name__}: {error}"
        return "refused", "", (), sentence, time.perf_counter() - start
    seconds = time.perf_counter() - start
    divergence, causes = report.first_divergence, tuple(cause.id for cause in report.causes)
    location = report.causes[0].layer if causes else divergence.layer if divergence else ""
    return report.verdict, location, causes, report.summary(), seconds
