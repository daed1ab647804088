"""Checks one plant, or one pair without a difference; the result is plain data.

If the input alone shows the difference of a plant, without probes, it is not hidden, and is discarded.
"""

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import parity
from experiments.instrument.defects.evaluate import is_exact
from experiments.instrument.defects.flax_side import flax_model
from experiments.instrument.defects.generator import clean_pair
from experiments.instrument.defects.graph import Graph, walk
from experiments.instrument.defects.runs import seeded_torch
from experiments.instrument.hidden.candidates import Candidate
from parity.errors import CannotCompare
from parity.verdict.judge import judge
from parity.verdict.policy import EPSILON, Policy
from parity.verdict.record import Measurements, Report

# Two float32 results may each be off by their own rounding.
_ROUNDINGS = 4
# Kinds of layers that behave otherwise in training.
_MODED = ("batch_norm", "dropout", "module")


@dataclasses.dataclass(frozen=True)
class Said:
    """What a check said.

    Attributes:
        verdict: "equivalent", "divergent", "inconclusive" or "refused".
        place: of the first cause, or else of the first difference; "" without one.
        sentence: the summary or the refusal.
        remarks: the names that stand under the headline, of remarks and of what could not be probed.
    """

    verdict: str
    place: str
    sentence: str
    remarks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a plant, or of a pair without a difference, whose `kind` is "".

    Attributes:
        name, kind, source, host, style, difference, path, structural: of the candidate.
        locations: the exact ones.
        plain: what the check says of this input alone; of precision, see `_in_float32`.
        said: what it says with all probes.
        strict: the same where derivatives at exact zeros and ties count.
        seconds: of the check with all probes.
    """

    name: str
    kind: str
    source: str
    host: str
    style: str
    difference: str
    path: str
    structural: bool
    locations: tuple[str, ...]
    plain: Said | None
    said: Said | None
    strict: Said | None
    seconds: float

    @property
    def hidden(self) -> bool:
        """Whether it is a plant that its input alone does not show, or that the structure shows without a run."""
        return (
            bool(self.kind)
            and self.plain is not None
            and (
                self.plain.verdict == "equivalent" or (self.structural and self.plain.verdict == "divergent")
            )
        )

    @property
    def judged(self) -> Said:
        """What counts: at zeros and ties the strict verdict."""
        judged = self.strict if self.kind == "kink" else self.said
        assert judged is not None
        return judged

    @property
    def found(self) -> bool:
        """Whether the difference was found."""
        return self.hidden and self.judged.verdict == "divergent"

    @property
    def located(self) -> bool:
        """Whether it was found at the exact place."""
        return self.found and is_exact(self.judged.place, self.locations)

    @property
    def unproven(self) -> bool:
        """Whether the check withholds its proof, and names the exact place as what it could not probe."""
        names = self.judged.remarks
        return self.judged.verdict == "inconclusive" and any(is_exact(n, self.locations) for n in names)

    @property
    def remarked(self) -> bool:
        """Whether the usual policy says it under the headline, at the exact place."""
        said = self.said
        return said is not None and any(is_exact(name, self.locations) for name in said.remarks)


def evaluate(candidate: Candidate, seed: int) -> Result:
    """Check a plant."""
    c = candidate
    head = (
        c.name,
        c.kind,
        c.source,
        c.host,
        c.style,
        c.difference.name,
        c.site.path,
        c.difference.structural,
    )
    result = Result(*head, c.graphs.locations, None, None, None, 0.0)
    return _checked(result, c.graphs.torch, c.graphs.flax, c.inputs, seed, c)


def evaluate_clean(number: int, seed: int) -> Result:
    """Check a pair without a difference."""
    pair = clean_pair(number, seed)
    result = Result(
        pair.name, "", "generated", pair.name, pair.style, "", "", False, (), None, None, None, 0.0
    )
    return _checked(result, pair.graph, pair.graph, pair.inputs, seed, None)


def _checked(
    result: Result,
    torch: Graph,
    flax: Graph,
    inputs: list[np.ndarray],
    seed: int,
    candidate: Candidate | None,
) -> Result:
    """The result with the verdicts of one check.

    A probe adds to the measurements of the run and changes none of them. So the verdict on the input alone is that on
    the measurements without those of probes: what `parity.check(..., probes=False)` says.
    """
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder:
            report = parity.check(
                _model(torch, seed, candidate),
                flax_model(flax, result.style),
                inputs,
                mode=_mode(torch),
                seed=seed,
                perturb=False,
                out=folder,
            )
            seconds = time.perf_counter() - start
            found = Measurements.load(Path(folder))
    except Exception as error:
        refused = _refused(error)
        return dataclasses.replace(
            result, plain=refused, said=refused, strict=refused, seconds=time.perf_counter() - start
        )
    of_precision = result.kind == "precision"
    plain = _in_float32(found) if of_precision else _said(judge(dataclasses.replace(found, probes=())))
    strict = _said(judge(found, Policy(strict_kinks=True)))
    return dataclasses.replace(result, plain=plain, said=_said(report), strict=strict, seconds=seconds)


def _in_float32(found: Measurements) -> Said:
    """The verdict on the numbers that the two models compute in float32, as they are written.

    Every check lifts pins, with or without probes. Without, a difference below rounding does not show.
    """
    for entry in found.entries:
        for quantity in entry.quantities:
            m = quantity.introduced or quantity.inherited
            assert m is not None
            rounding = max(m.rounding_torch, m.rounding_flax, EPSILON["float32"] * m.scale)
            if not m.difference32 <= _ROUNDINGS * rounding:
                return Said(
                    "divergent", entry.name, f"float32: the {quantity.name} differs by {m.difference32:.1e}"
                )
    return Said("equivalent", "", "float32: every tensor agrees to rounding")


def _model(graph: Graph, seed: int, candidate: Candidate | None) -> Any:
    model = seeded_torch(graph, seed)
    if candidate is not None and candidate.difference.prepare is not None:
        candidate.difference.prepare(model, candidate.site.path)
    return model


def _mode(graph: Graph) -> str:
    return "both" if any(node.kind in _MODED for _, node in walk(graph)) else "eval"


def _refused(error: Exception) -> Said:
    # A refusal is one sentence. Any other exception is a fault of the instrument and counts as a miss too.
    sentence = str(error) if isinstance(error, CannotCompare) else f"{type(error).__name__}: {error}"
    return Said("refused", "", sentence[:400])


def _said(report: Report) -> Said:
    divergence, causes = report.first_divergence, report.causes
    place = causes[0].layer if causes else divergence.layer if divergence else ""
    unprobed = [probe.name for probe in report.probes if probe.outcome == "unprobed"]
    remarks = [note.layer for note in report.notes if note.kind in ("kink", "dtype-pinned")]
    names = tuple(dict.fromkeys(name for name in (*unprobed, *remarks) if name))
    return Said(report.verdict, place, report.summary()[:400], names)
