"""The mutants: every plant of every host, in both module styles; a seeded draw covers all ids."""

import dataclasses
import functools
import zlib
from collections.abc import Callable, Iterator

import numpy as np

from experiments.instrument.defects.flax_side import STYLES
from experiments.instrument.defects.graph import Graph, walk
from experiments.instrument.defects.hosts import CLASSES, HOSTS, Host
from experiments.instrument.defects.plants import Plant, of_options
from experiments.instrument.defects.trainings import TRAININGS
from experiments.instrument.defects.wiring import of_ties, of_wiring
from parity.verdict.catalogue import DEFECTS

# The host name of a mutant of training.
TRAINING = "training"
DEPTHS = ("early", "middle", "late")

# Ids that cannot show in two models or trainings that start from the same weights, with the reason.
NOT_EXPRESSIBLE = {
    "norm-fast-variance": "the two formulas are equal but for rounding: nothing to prove in float64",
    "matmul-precision": "it needs an accelerator whose float32 products are not float32",
    "frozen-parameter": "the hosts train every parameter",
    "weight-tying": "no host uses a weight twice",
    "dropout-shape": "only a probe shows it, and the benchmark measures the run",
    "init-distribution": "the weights are carried over, whatever they were",
    "zero-gamma": "the weights are carried over, whatever they were",
}


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A defect in a host.

    Attributes:
        name: unique; made of host, style, id, path and severity.
        id: its id in the catalogue.
        host, style: a host of `HOSTS` or "training", and the module style.
        path: the path of the node, or the optimiser's name.
        depth: "early", "middle" or "late".
        severity: in words.
        locations: the exact locations, see `Plant`.
        held_out: whether the host is held out.
    """

    name: str
    id: str
    host: str
    style: str
    path: str
    depth: str
    severity: str
    locations: tuple[str, ...]
    held_out: bool


def expressible() -> tuple[str, ...]:
    """The ids of the catalogue that can be planted."""
    return tuple(id for id in DEFECTS if id not in NOT_EXPRESSIBLE)


@functools.cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant that can be made, in a fixed order; the proof finds those that are equivalent."""
    mutants = [
        _mutant(host, style, plant) for host in HOSTS.values() for plant in plants(host) for style in STYLES
    ]
    for training in TRAININGS:
        for style in STYLES:
            name = f"{TRAINING}/{style}/{training.id}/{training.severity}"
            fields = (TRAINING, style, training.path, "late", training.severity, training.locations, False)
            mutants.append(Mutant(name, training.id, *fields))
    return tuple(mutants)


def plants(host: Host) -> Iterator[Plant]:
    """Every plant of a host."""
    graph = host.graph()
    if host.name == "bare":
        yield from of_ties(graph)
    yield from of_options(graph)
    yield from of_wiring(graph)


def plant_of(mutant: Mutant) -> tuple[Host, Plant]:
    """The host and the plant of a mutant, rebuilt."""
    host = HOSTS[mutant.host]
    key = (mutant.id, mutant.path, mutant.severity)
    return host, next(p for p in plants(host) if (p.id, p.path, p.severity) == key)


def draw(count: int, seed: int) -> list[Mutant]:
    """`count` mutants with all ids as equally often as possible; hosts, locations and severities are random.

    A longer draw starts with the mutants of a shorter one.
    """
    generator = np.random.default_rng((seed, 41))
    by_id: dict[str, list[Mutant]] = {}
    for mutant in all_mutants():
        by_id.setdefault(mutant.id, []).append(mutant)
    queues = {id: _varied(mutants, generator) for id, mutants in sorted(by_id.items())}
    drawn: list[Mutant] = []
    while len(drawn) < count and any(queues.values()):
        for queue in queues.values():
            if queue and len(drawn) < count:
                drawn.append(queue.pop(0))
    return drawn


def _varied(mutants: list[Mutant], generator: np.random.Generator) -> list[Mutant]:
    """The mutants shuffled, then one of each host in turn, so that the first few cover as many hosts as possible."""
    shuffled = [mutants[i] for i in generator.permutation(len(mutants))]
    seen: dict[str, int] = {}
    turns = []
    for mutant in shuffled:
        seen[mutant.host] = seen.get(mutant.host, 0) + 1
        turns.append(seen[mutant.host])
    return [shuffled[i] for i in np.argsort(turns, kind="stable")]


def inputs_of(host: Host, graph: Graph) -> list[np.ndarray]:
    """The input of a host in PyTorch's layout, and labels if it takes them."""
    generator = np.random.default_rng(zlib.crc32(host.name.encode()))
    x = generator.standard_normal(host.shape).astype(np.float32)
    return [x, np.arange(host.shape[0]) % CLASSES] if "labels" in graph.inputs else [x]


def _mutant(host: Host, style: str, plant: Plant) -> Mutant:
    name = "/".join((host.name, style, plant.id, plant.path, plant.severity))
    return Mutant(
        name,
        plant.id,
        host.name,
        style,
        plant.path,
        _depth(host.graph, plant.path),
        plant.severity,
        plant.locations,
        host.held_out,
    )


def _depth(graph: Callable[[], Graph], path: str) -> str:
    paths = [p for p, _ in walk(graph())]
    if path in ("input", "output"):
        return "early" if path == "input" else "late"
    return DEPTHS[min(2, 3 * paths.index(path) // len(paths))]
