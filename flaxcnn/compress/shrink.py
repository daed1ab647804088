"""Structured pruning: choose units, and remove them from all arrays, so that layers become smaller."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Num

from flaxcnn.compress.groups import Group, Structure
from flaxcnn.compress.ties import Labels
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters, State
from flaxcnn.models.resized import Architecture

Scores = Float64[np.ndarray, " units"]


@dataclasses.dataclass(frozen=True)
class Shrunken:
    """A smaller network.

    Attributes:
        architecture: its shapes.
        params, state: its arrays.
        removed: the units that are gone.
    """

    architecture: Architecture
    params: Parameters
    state: State
    removed: tuple[int, ...]


def choose(
    structure: Structure,
    scores: Scores,
    *,
    ratio: float | None = None,
    flops: float | None = None,
    ranking: str = "uniform",
) -> tuple[int, ...]:
    """The units to remove, those with the lowest scores first.

    Args:
        structure: what can be removed.
        scores: of every unit, the lower the less important.
        ratio: the share of units to remove, in (0, 1), of each group (rounded down) or of all.
        flops: how many times fewer FLOPs to reach, above 1; instead of `ratio`.
        ranking: `uniform`, the same share of each group; or `global`, over all groups.

    Raises:
        InvalidArgument: a layer would be left without channels, or an argument is out of its range.
    """
    if ranking not in ("uniform", "global"):
        raise InvalidArgument(f"ranking is {ranking!r}; expected uniform or global.")
    if (ratio is None) == (flops is None):
        raise InvalidArgument(
            "Give either ratio or flops: the share of channels to remove, or the factor of FLOPs."
        )
    order = (
        _uniform_order(structure, scores)
        if ranking == "uniform"
        else np.argsort(scores, kind="stable").tolist()
    )
    if ratio is not None:
        _require(ratio > 0, f"ratio is {ratio:g}; expected a share of channels above 0 and below 1.")
        return _by_ratio(structure, scores, order, ratio, ranking)
    _require(flops > 1 and math.isfinite(flops), f"flops is {flops:g}; expected a factor above 1, such as 2.")
    return _by_flops(structure, order, flops)


def _by_ratio(
    structure: Structure, scores: Scores, order: Sequence[int], ratio: float, ranking: str
) -> tuple[int, ...]:
    if ranking == "uniform":
        chosen = []
        for group in structure.groups:
            _require(ratio < 1, _empty(group, f"ratio {ratio:g}"))
            ranked = sorted(group.units, key=lambda unit: (scores[unit], unit))
            chosen += ranked[: int(ratio * len(ranked) + 1e-9)]
        return tuple(sorted(chosen))
    wanted = int(ratio * len(order) + 1e-9)
    allowed = _sparing(structure, order)
    last = next(group for group in structure.groups if order[-1] in group.units)
    _require(wanted <= len(allowed), _empty(last, f"ratio {ratio:g}"))
    return tuple(sorted(allowed[:wanted]))


def _by_flops(structure: Structure, order: Sequence[int], factor: float) -> tuple[int, ...]:
    """The fewest first units of the order that save as much, by bisection: each removal saves."""
    allowed, whole = _sparing(structure, order), structure.flops()
    low, high = 0, len(allowed)
    if structure.flops(allowed) * factor > whole:
        most = whole / structure.flops(allowed)
        raise InvalidArgument(
            f"flops is {factor:g}, but with one channel left in every layer the network has only {most:.3g} times "
            "fewer; choose a smaller factor."
        )
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (middle + 1, high) if structure.flops(allowed[:middle]) * factor > whole else (low, middle)
        )
    return tuple(sorted(allowed[:low]))


def _uniform_order(structure: Structure, scores: Scores) -> list[int]:
    """All units, so that every beginning of the list has nearly the same share of each group."""
    keyed = []
    for group in structure.groups:
        ranked = sorted(group.units, key=lambda unit: (scores[unit], unit))
        keyed += [((place + 1) / len(ranked), unit) for place, unit in enumerate(ranked)]
    return [unit for _, unit in sorted(keyed)]


def _sparing(structure: Structure, order: Iterable[int]) -> list[int]:
    """The order without the last unit of each group, so that no layer loses its last channel."""
    group_of = {unit: number for number, group in enumerate(structure.groups) for unit in group.units}
    left = [len(group.units) for group in structure.groups]
    allowed = []
    for unit in order:
        if left[group_of[unit]] > 1:
            left[group_of[unit]] -= 1
            allowed.append(unit)
    return allowed


def _require(right: bool, sentence: str) -> None:
    if not right:
        raise InvalidArgument(sentence)


def _empty(group: Group, given: str) -> str:
    return (
        f"{given} would leave the layer {group.name} without channels (it has {len(group.units)} that can be "
        "removed); choose a smaller one."
    )


def shrink(structure: Structure, params: Parameters, state: State, removed: Iterable[int]) -> Shrunken:
    """Remove units from all arrays.

    Args:
        structure: of the network.
        params, state: its arrays.
        removed: the units, as `choose` returns them.

    Raises:
        InvalidArgument: a layer would be left without channels.
    """
    removed = tuple(removed)
    shapes = structure.sizes(removed)
    for name, shape in shapes.items():
        _require(all(shape), f"{name} would be left with the shape {list(shape)}; remove fewer channels.")
    kept = structure.kept(removed)
    return Shrunken(
        Architecture(shapes, structure.groups_of(removed)),
        _taken(params, kept),
        _taken(state, kept),
        removed,
    )


def _taken(arrays: Mapping[str, Num[Array, "..."]], kept: Mapping[tuple[str, int], Labels]) -> dict[str, Any]:
    result = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        for axis in range(array.ndim):
            if (name, axis) in kept:
                array = array.take(kept[name, axis], axis)
        result[name] = jnp.asarray(array)
    return result


def masked(
    structure: Structure, params: Mapping[str, Float[Array, "..."]], removed: Iterable[int]
) -> Parameters:
    """The parameters with zeros in place of the units, in their full shapes: what a mask does instead of `shrink`."""
    gone = np.asarray(sorted(removed), int)
    result = {}
    for name, value in params.items():
        array = np.array(value)
        for axis in range(array.ndim):
            if (name, axis) in structure.units:
                lost = np.isin(structure.units[name, axis], gone)
                array[(slice(None),) * axis + (lost,)] = 0
        result[name] = jnp.asarray(array)
    return result
