"""Causes grouped by their id: a convention that all layers of a kind share is one cause, not twenty."""

import dataclasses
from collections.abc import Iterable

from parity.report import wording
from parity.verdict.record import Cause

MOST_LAYERS = 6


@dataclasses.dataclass(frozen=True)
class Variant:
    """Layers of which the report says the same: `facts` are (label, words)."""

    layers: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Group:
    """All causes of one id; `variants` in the order of their first layers."""

    id: str
    variants: tuple[Variant, ...]

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of all variants, each once."""
        return tuple(dict.fromkeys(layer for variant in self.variants for layer in variant.layers))


def grouped(causes: Iterable[Cause]) -> list[Group]:
    """The causes by id, and inside by what is said of them, both in the order of the first."""
    ids: dict[str, dict[tuple[str, str, str], list[Cause]]] = {}
    for cause in causes:
        said = cause.torch, cause.flax, cause.fix
        ids.setdefault(cause.id, {}).setdefault(said, []).append(cause)
    return [Group(id, tuple(map(_variant, said.values()))) for id, said in ids.items()]


def _variant(causes: list[Cause]) -> Variant:
    lines = list(dict.fromkeys(cause.code for cause in causes if cause.code))
    layers = tuple(dict.fromkeys(cause.layer for cause in causes))
    shared = dataclasses.replace(causes[0], code=listed(lines, everything=False))
    return Variant(layers, tuple(wording.cause(shared)))


def listed(names: Iterable[str], *, everything: bool) -> str:
    """Names after one another; of many the first, and how many more there are."""
    names = list(names)
    shown = names if everything or len(names) <= MOST_LAYERS + 1 else names[:MOST_LAYERS]
    more = [f"and {len(names) - len(shown)} more"] if len(shown) < len(names) else []
    return ", ".join([*shown, *more])
