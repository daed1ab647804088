"""One mutant, or one clean pair, from end to end: prove, check, ask the baselines; the result is plain data."""

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
    """What came of a mutant or a clean pair.

    Attributes:
        name, id, host, style, depth, severity, held_out: of the mutant; a clean pair has the id "".
        proof: whether the pair is equivalent, by the float64 proof; equivalent mutants are not checked.
        verdict: of the check: "divergent", "equivalent", "inconclusive", or "refused"; "" if not checked.
        places: that are exact.
        place: of the first named cause; where none is named, the first place that diverges; of a refusal "", but
            "-> output" where it says that the outputs have other shapes.
        causes: the ids that it named, in order.
        sentence: its summary or refusal.
        seconds: that the check took.
        baselines: the opinion of each; empty for trainings, which they do not see.
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
    places: tuple[str, ...]
    place: str
    causes: tuple[str, ...]
    sentence: str
    seconds: float
    baselines: dict[str, Opinion]

    @property
    def counts(self) -> bool:
        """Whether it is a mutant that differs in meaning."""
        return bool(self.id) and not self.proof.equivalent

    @property
    def detected(self) -> bool:
        """Whether the check found a difference; to say that the outputs have other shapes is to find one."""
        return self.verdict == "divergent" or (self.verdict == "refused" and bool(self.place))

    @property
    def located(self) -> bool:
        """Whether the place that was named first is exact."""
        return self.detected and is_exact(self.place, self.places)

    @property
    def named(self) -> bool:
        """Whether the first cause named is the planted one."""
        return self.detected and self.causes[:1] == (self.id,)


def is_exact(place: str, places: tuple[str, ...]) -> bool:
    """Whether a place is one of `places`; "-> fc" stands for every segment that ends there, or is "before fc"."""
    place = f" -> {place.removeprefix('before ')}" if place.startswith("before ") else place
    return any(place == one or (one.startswith("-> ") and place.endswith(f" {one}")) for one in places)


def evaluate(mutant: Mutant, seed: int) -> Result:
    """Prove that a mutant of a model differs, then check it; those of training are for `trained`."""
    host, plant = plant_of(mutant)
    theirs = host.graph()
    inputs = inputs_of(host, theirs)
    proof = prove(theirs, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    if proof.equivalent:
        return result(mutant, proof, "", "", (), "equivalent in float64: discarded", 0.0, {})
    said = opinions(theirs, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    checked = _checked(theirs, plant.graph, mutant.style, inputs, seed, dead=plant.dead)
    return result(mutant, proof, *checked, said)


def evaluate_clean(number: int, seed: int) -> Result:
    """Check a right port."""
    pair = clean_pair(number, seed)
    mutant = Mutant(
        pair.name, "", "generated", pair.style, path="", depth="", severity="", places=(), held_out=False
    )
    proof = prove(pair.graph, pair.graph, pair.style, pair.inputs, seed)
    said = opinions(pair.graph, pair.graph, pair.style, pair.inputs, seed)
    checked = _checked(pair.graph, pair.graph, pair.style, pair.inputs, seed, dead=False)
    return result(mutant, proof, *checked, said)


def result(
    mutant: Mutant,
    proof: Proof,
    verdict: str,
    place: str,
    causes: tuple[str, ...],
    sentence: str,
    seconds: float,
    said: dict[str, Opinion],
) -> Result:
    """A result of a mutant."""
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
        m.places,
        place,
        causes,
        sentence,
        seconds,
        said,
    )


def _checked(
    theirs: Graph, ours: Graph, style: str, inputs: list[np.ndarray], seed: int, *, dead: bool
) -> tuple[Any, ...]:
    """(verdict, place, causes, sentence, seconds) of `parity.check`."""
    import parity

    model: TorchGraph = seeded_torch(theirs, seed, dead=dead)
    start = time.perf_counter()
    try:
        report = parity.check(
            model,
            flax_model(ours, style),
            inputs,
            mode="both" if moded(theirs) else "eval",
            seed=seed,
            perturb=not dead,
        )
    except OutputsDiffer as error:
        causes = (error.cause,) if error.cause else ()
        return "refused", "-> output", causes, str(error), time.perf_counter() - start
    except Exception as error:
        # A refusal is one sentence; anything else is a fault of the instrument, and counts as a miss all the same.
        sentence = str(error) if isinstance(error, CannotCompare) else f"{type(error).__name__}: {error}"
        return "refused", "", (), sentence, time.perf_counter() - start
    seconds = time.perf_counter() - start
    where, causes = report.first_divergence, tuple(cause.id for cause in report.causes)
    place = report.causes[0].layer if causes else where.layer if where else ""
    return report.verdict, place, causes, report.summary(), seconds
