"""The plants to try, in a fixed order: each difference in turn, in a host of the benchmark or a generated one."""

import dataclasses
import functools
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np

from experiments.instrument.defects.flax_side import STYLES
from experiments.instrument.defects.generator import clean_pair
from experiments.instrument.defects.graph import Graph, walk
from experiments.instrument.defects.hosts import HOSTS
from experiments.instrument.defects.mutants import inputs_of
from experiments.instrument.hidden import of_chance, of_kinks, of_precision, of_range, of_size, of_steps
from experiments.instrument.hidden.difference import KINDS, Difference, Kind, Planted, planted
from experiments.instrument.hidden.sites import Site, sites

# Of each kind half are planted in hosts of the benchmark, half in generated ones, which no probe was developed with.
Source = Literal["benchmark", "generated"]
SOURCES: tuple[Source, ...] = ("benchmark", "generated")
DIFFERENCES: dict[Kind, tuple[Difference, ...]] = {
    "range": of_range.DIFFERENCES,
    "size": of_size.DIFFERENCES,
    "chance": of_chance.DIFFERENCES,
    "precision": of_precision.DIFFERENCES,
    "kink": of_kinks.DIFFERENCES,
    "steps": of_steps.DIFFERENCES,
}
# Generated hosts have numbers from here on, so that none is among the clean pairs. The time of a check is that of its
# nodes, so hosts have no more than these.
_FIRST, _GENERATED, _NODES = 100_000, 40, {"benchmark": 29, "generated": 16}
# Further rows and columns of an image, at one of which a difference of size must show: else there is none.
_FURTHER = ((1, 0), (0, 1), (1, 1), (2, 2), (3, 3), (2, 1))
# These have derivatives of their own at zeros, or none: a difference planted beside them is not the first.
_KINKED = {"relu6", "hard_swish", "hard_sigmoid", "leaky_relu"}


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A plant to try.

    Attributes:
        name: unique.
        kind, source, style: see above.
        host: the name of the host.
        difference: in words.
        site: where it is planted.
        given: the graphs.
        inputs: in PyTorch's layout.
        structural: see `Difference`.
    """

    name: str
    kind: Kind
    source: Source
    host: str
    style: str
    difference: Difference
    site: Site
    graphs: Planted
    inputs: list[np.ndarray]


def candidates(kind: Kind, source: Source, seed: int) -> Iterator[Candidate]:
    """The plants of a kind without end; the first `len(DIFFERENCES[kind])` are of different differences."""
    generator = np.random.default_rng((seed, zlib.crc32(f"{kind}/{source}".encode())))
    listed = DIFFERENCES[kind]
    start = 0 if source == "benchmark" else len(listed) // 2
    seen: set[str] = set()
    for turn in range(10 * len(listed)):
        difference = listed[(turn + start) % len(listed)]
        style = STYLES[(turn + turn // len(listed) + (source == "generated")) % 2]
        found = _placed(kind, source, difference, style, generator, seed)
        if found is not None and found.name not in seen:
            seen.add(found.name)
            yield found


def _placed(
    kind: Kind, source: Source, difference: Difference, style: str, generator: np.random.Generator, seed: int
) -> Candidate | None:
    """The difference at a random place of a random host that has one."""
    names = _hosts(kind, source, seed)
    for index in generator.permutation(len(names)):
        graph, inputs = _host(names[index], seed)
        fitting = [
            site
            for site in _sites(names[index], seed)
            if difference.fits(site) and _shows(kind, difference, site, names[index], seed)
        ]
        if fitting:
            site = fitting[generator.integers(len(fitting))]
            name = "/".join((kind, names[index], style, site.path, difference.name))
            graphs = planted(graph, site, difference)
            return Candidate(name, kind, source, names[index], style, difference, site, graphs, inputs)
    return None


@functools.cache
def _hosts(kind: Kind, source: Source, seed: int) -> tuple[str, ...]:
    if source == "benchmark":
        names = [name for name in HOSTS if name != "loss"]
    else:
        names = [f"generated/{_FIRST + n}" for n in range(_GENERATED)]
    return tuple(name for name in names if _is_apt(_host(name, seed)[0], kind, source))


def _is_apt(graph: Graph, kind: Kind, source: Source) -> bool:
    nodes = [node for _, node in walk(graph)]
    if kind == "kink" and any(
        node.kind == "std" or node.options.get("function") in _KINKED for node in nodes
    ):
        return False
    return len(nodes) <= _NODES[source]


@functools.cache
def _host(name: str, seed: int) -> tuple[Graph, list[np.ndarray]]:
    if name in HOSTS:
        graph = HOSTS[name].graph()
        return graph, inputs_of(HOSTS[name], graph)
    pair = clean_pair(int(name.rpartition("/")[2]), seed)
    return pair.graph, pair.inputs


@functools.cache
def _sites(name: str, seed: int) -> list[Site]:
    return sites(*_host(name, seed))


def _shows(kind: Kind, difference: Difference, site: Site, name: str, seed: int) -> bool:
    """Whether a difference of size shows at any other size."""
    if kind != "size":
        return True
    elsewhere = [found[site.path] for found in _sites_elsewhere(name, seed) if site.path in found]
    return any(difference.shows(site, other) for other in elsewhere) or not site.resizable


@functools.cache
def _sites_elsewhere(name: str, seed: int) -> list[dict[str, Site]]:
    graph, (x, *rest) = _host(name, seed)
    found = []
    for rows, columns in _FURTHER:
        larger = np.zeros((*x.shape[:2], x.shape[2] + rows, x.shape[3] + columns), np.float32)
        try:
            found.append({site.path: site for site in sites(graph, [larger, *rest])})
        except RuntimeError:  # PyTorch refuses the size
            continue
    return found


__all__ = ["DIFFERENCES", "KINDS", "SOURCES", "Candidate", "candidates"]
