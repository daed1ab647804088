"""What a comparison leaves behind: measurements, which know no threshold, and the report judged from them.

    Measurements --judge(policy)--> Report --report/--> terminal, HTML, JSON, JUnit

Every class is frozen and turns into plain JSON and back without loss.
"""

import dataclasses
from pathlib import Path
from typing import Literal

from parity.errors import TraceError
from parity.files import from_plain, read_json, to_plain, write_json
from parity.verdict.metrics import Metrics
from parity.verdict.policy import Policy
from parity.verdict.probe import Mode, Phase, Probe

FORMAT_VERSION = 3
MEASUREMENTS_FILE = "measurements.json"
REPORT_FILE = "report.json"
TENSORS_FILE = "tensors.npz"

Role = Literal["layer", "segment", "parameters"]
Status = Literal["equivalent", "divergent", "inherited", "accepted", "reference-inexact", "no-signal"]
Verdict = Literal["equivalent", "divergent", "inconclusive"]


@dataclasses.dataclass(frozen=True)
class Quantity:
    """One compared tensor of an entry.

    `name` is "output", "input", "input cotangent", "output cotangent", "gradient of weight",
    "running_mean", ...; numbered ("output 1") where a layer has several. `introduced` compares the Flax
    layer, or the connection between layers, fed PyTorch's recorded tensors; `inherited` compares the models as
    they run. `reference_error` is the relative error of PyTorch's own derivative against a central
    difference in float64, where a doubt made the engine measure it.
    """

    name: str
    phase: Phase
    introduced: Metrics | None
    inherited: Metrics | None
    reference_error: float | None


@dataclasses.dataclass(frozen=True)
class Entry:
    """One call of one layer, one segment between layers, or the parameters that belong to no layer.

    `position` orders the entries of a mode as PyTorch ran them; `call` counts the calls of one module from 0;
    `kind` is the class of PyTorch's module; sources are "file:line" of the module's class, or "".
    """

    position: int
    role: Role
    mode: Mode
    name: str
    torch: str
    flax: str
    kind: str
    call: int
    source_torch: str
    source_flax: str
    quantities: tuple[Quantity, ...]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A difference named by an id of the defect catalogue, and the quantity that it explains.

    It was seen in the structure (a parameter that one side lacks), or identified as what makes the quantity
    differ. `mode` is that of the quantity, None for structure; `place` is the entry that shows the quantity,
    where that is not `layer`. `code` is the "file:line" of the Flax call that differs, or of the one to which the
    differing connection leads, or "".
    """

    id: str
    layer: str
    phase: Phase
    quantity: str
    torch: str
    flax: str
    fix: str
    mode: Mode | None = None
    place: str = ""
    code: str = ""

    def explains(self, entry: "Entry", quantity: "Quantity") -> bool:
        """Whether this is what makes a quantity of an entry differ."""
        return (
            (self.place or self.layer) == entry.name
            and self.quantity == quantity.name
            and self.mode in (None, entry.mode)
        )


@dataclasses.dataclass(frozen=True)
class Unexercised:
    """A parameter or layer that the run did not put to the test, why not, and what to change."""

    name: str
    reason: str
    change: str


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What share of the parameters (tensors) and layers was put to the test, and what was not."""

    parameters: int
    parameters_exercised: int
    layers: int
    layers_exercised: int
    unexercised: tuple[Unexercised, ...]


@dataclasses.dataclass(frozen=True)
class Note:
    """A remark that does not decide: kind is "perturbed", "dtype-pinned", "non-deterministic", "imprecise",
    "reference-inexact", "kink", "dropout", "uncompared" or "weights"; or, of a difference without a named
    cause, "unexplained" (with its pattern) or "convention" (identified, but not in the catalogue).
    """

    kind: str
    layer: str
    message: str


@dataclasses.dataclass(frozen=True)
class Measurements:
    """Everything measured in one comparison.

    `policy` is the one by which causes were searched for: of the tensors that differ by it, and of no others.
    `probes` tell where a difference was looked for beyond the run itself, and what came of it.
    """

    version: int
    modes: tuple[Mode, ...]
    entries: tuple[Entry, ...]
    findings: tuple[Finding, ...]
    coverage: Coverage
    notes: tuple[Note, ...]
    environment: dict[str, str]
    policy: dict[str, float | bool] = dataclasses.field(default_factory=lambda: dataclasses.asdict(Policy()))
    probes: tuple[Probe, ...] = ()

    def save(self, directory: Path) -> None:
        """Write `measurements.json` into `directory`."""
        write_json(directory / MEASUREMENTS_FILE, self)

    @staticmethod
    def load(directory: Path) -> "Measurements":
        """Read what `save` wrote.

        Raises:
            TraceError: if the folder holds no measurements, or damaged ones, or of another version.
        """
        data = read_json(directory / MEASUREMENTS_FILE)
        return _load_versioned(Measurements, data, directory / MEASUREMENTS_FILE)


@dataclasses.dataclass(frozen=True)
class JudgedQuantity:
    """A quantity with its verdict: `allowed` is the largest gap that rounding explains, and `margin` =
    allowed / gap (above 1 passes; infinite when the gap is zero), for the metrics that decided.
    """

    quantity: Quantity
    status: Status
    allowed: float
    margin: float


@dataclasses.dataclass(frozen=True)
class JudgedEntry:
    """An entry with the verdicts of its quantities; `status` is the worst of them, `margin` the smallest."""

    entry: Entry
    status: Status
    margin: float
    quantities: tuple[JudgedQuantity, ...]


@dataclasses.dataclass(frozen=True)
class Divergence:
    """Where the port first goes wrong: a layer's name or "layer4 -> fc"; phase; quantity; mode."""

    layer: str
    phase: Phase
    quantity: str
    mode: Mode


@dataclasses.dataclass(frozen=True)
class Cause:
    """A named cause: an id of the catalogue, where, what each side does, and the change that removes it.

    `code` is the "file:line" of the Flax code that calls the layer, or "".
    """

    id: str
    layer: str
    torch: str
    flax: str
    fix: str
    code: str = ""


@dataclasses.dataclass(frozen=True)
class Report:
    """The verdict and its evidence; what every renderer reads and none changes.

    `layers` holds the judged entries (layers, segments and bare parameters) of all modes in execution order;
    `margin` is the smallest safety margin among the quantities that passed. `probes` are those that count under the
    policy: see `parity.verdict.probe`.
    """

    version: int
    verdict: Verdict
    modes: tuple[Mode, ...]
    first_divergence: Divergence | None
    causes: tuple[Cause, ...]
    accepted: tuple[Cause, ...]
    layers: tuple[JudgedEntry, ...]
    coverage: Coverage
    notes: tuple[Note, ...]
    environment: dict[str, str]
    policy: dict[str, float | bool]
    margin: float
    probes: tuple[Probe, ...] = ()

    def entries(self, mode: Mode, role: Role | None = None) -> tuple[JudgedEntry, ...]:
        """The judged entries of one mode, all or of one role, in execution order."""
        return tuple(j for j in self.layers if j.entry.mode == mode and role in (None, j.entry.role))

    def summary(self) -> str:
        """One sentence: the verdict and what decides it."""
        if self.verdict == "equivalent":
            probed = ", ".join(dict.fromkeys(p.kind for p in self.probes if p.outcome == "agrees"))
            return (
                f"equivalent: no difference of meaning; smallest safety margin {self.margin:.3g}x"
                f"{f'; probed: {probed}' if probed else ''}"
            )
        unprobed = next((probe.message for probe in self.probes if probe.outcome == "unprobed"), None)
        if self.verdict == "inconclusive" and unprobed is not None:
            return f"inconclusive: {unprobed}"
        if self.verdict == "inconclusive":
            return f"inconclusive: {len(self.coverage.unexercised)} tensors or layers were not exercised"
        where = self.first_divergence
        assert where is not None
        return f"divergent: first at {where.layer} ({where.phase}, {where.quantity}, {where.mode} mode)"

    def to_json(self) -> dict[str, object]:
        """The contents of `report.json`, as plain values."""
        plain = to_plain(self)
        assert isinstance(plain, dict)
        return plain

    @staticmethod
    def from_json(data: object) -> "Report":
        """Rebuild a report from `to_json`'s values.

        Raises:
            TraceError: if the values are damaged or of another version.
        """
        return _load_versioned(Report, data, Path(REPORT_FILE))

    def save(self, directory: Path) -> None:
        """Write `report.json` into `directory`."""
        write_json(directory / REPORT_FILE, self)

    @staticmethod
    def load(directory: Path) -> "Report":
        """Read the `report.json` of `directory`.

        Raises:
            TraceError: if it is missing, damaged or of another version.
        """
        return _load_versioned(Report, read_json(directory / REPORT_FILE), directory / REPORT_FILE)


def _load_versioned(kind: type, data: object, path: Path) -> object:
    version = data.get("version") if isinstance(data, dict) else None
    if version != FORMAT_VERSION:
        raise TraceError(
            f"{path} has format version {version}, this parity reads version {FORMAT_VERSION}: "
            "run the check again."
        )
    try:
        return from_plain(kind, data)
    except (TypeError, ValueError, AttributeError) as error:
        raise TraceError(f"{path} is damaged ({error}): run the check again.") from None
