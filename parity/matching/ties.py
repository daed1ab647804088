"""Weights that are one array on one side and several on the other: how they go over, and how their gradients compare.

One array that is used twice has the sum of two gradients. So the sums are compared, which tells whether the uses are
right; that there are two arrays, which part at the first update, is a difference by itself.
"""

import dataclasses
from collections.abc import Mapping
from typing import Literal

import numpy as np

from parity.matching.link import Link


@dataclasses.dataclass(frozen=True)
class Tie:
    """Links of one array.

    Attributes:
        side: which side has one array only.
        array: its name there.
        links: to the arrays of the other side, in PyTorch's order.
    """

    side: Literal["torch", "flax"]
    array: str
    links: tuple[Link, ...]

    def torch_gradient(self, arrays: Mapping[str, np.ndarray], link: Link) -> np.ndarray | None:
        """PyTorch's gradient, summed over its arrays, in the layout that one link has in PyTorch."""
        if self.side == "torch":
            return arrays.get(f"gradient/{self.array}")
        parts = [(one.layout, arrays.get(f"gradient/{one.torch}")) for one in self.links]
        moved = [layout.to_flax(part) for layout, part in parts if part is not None]
        return link.layout.to_torch(sum(moved[1:], moved[0])) if len(moved) == len(parts) else None

    def flax_gradient(self, arrays: Mapping[str, np.ndarray], link: Link) -> np.ndarray | None:
        """Flax's gradient, summed over its arrays, in PyTorch's layout."""
        if self.side == "flax":
            gradient = arrays.get(f"gradient/{self.array}")
            return None if gradient is None else link.layout.to_torch(gradient)
        parts = [(one.layout, arrays.get(f"gradient/{one.flax}")) for one in self.links]
        moved = [layout.to_torch(part) for layout, part in parts if part is not None]
        return sum(moved[1:], moved[0]) if len(moved) == len(parts) else None


def resolve(
    links: list[Link], torch_names: Mapping[str, str], flax_names: Mapping[str, str]
) -> tuple[list[Link], list[Tie], list[str]]:
    """Links between arrays, from links between names.

    Args:
        links: from every name of an array to its partner.
        torch_names, flax_names: other names of an array -> its first name.

    Returns:
        One link for each pair of arrays, those that one side ties, and one sentence for each that cannot be told.
    """
    pairs: dict[tuple[str, str], Link] = {}
    for link in links:
        arrays = torch_names.get(link.torch, link.torch), flax_names.get(link.flax, link.flax)
        pairs.setdefault(arrays, dataclasses.replace(link, flax=arrays[1]))
    of_torch: dict[str, list[str]] = {}
    of_flax: dict[str, list[str]] = {}
    for torch, flax in pairs:
        of_torch.setdefault(torch, []).append(flax)
        of_flax.setdefault(flax, []).append(torch)
    ties, problems = [], []
    for torch, names in of_torch.items():
        if len(names) > 1:
            ties.append(Tie("torch", torch, tuple(pairs[torch, flax] for flax in names)))
            problems += _crossing(torch, names, of_flax)
        elif len(of_flax[names[0]]) == 1:
            pairs[torch, names[0]] = dataclasses.replace(pairs[torch, names[0]], torch=torch)
    for flax, names in of_flax.items():
        if len(names) > 1:
            ties.append(Tie("flax", flax, tuple(pairs[torch, flax] for torch in names)))
    return list(pairs.values()), ties, problems


def _crossing(torch: str, names: list[str], of_flax: dict[str, list[str]]) -> list[str]:
    crossing = [name for name in names if len(of_flax[name]) > 1]
    if not crossing:
        return []
    return [f"{torch!r} is tied to other weights in PyTorch than {', '.join(map(repr, crossing))} is in Flax"]


def make_equal(
    ties: tuple[Tie, ...], weights: dict[str, np.ndarray], initial: dict[str, np.ndarray], writable: bool
) -> list[Tie]:
    """Give PyTorch's weights that Flax ties the values of their first, in place.

    Args:
        ties: of both sides.
        weights: PyTorch's, which the runs are made with.
        initial: PyTorch's before the comparison, which may share memory with these; they stay as they are.
        writable: whether they may be written; where the runs are over, they may not.

    Returns:
        The ties whose values differed: no weights of Flax's can hold both.
    """
    differed = []
    for tie in ties:
        first, *others = tie.links
        wanted = first.layout.to_flax(weights[first.torch])
        wrong = [one for one in others if not np.array_equal(one.layout.to_flax(weights[one.torch]), wanted)]
        if tie.side == "torch" or not wrong:
            continue
        differed.append(tie)
        for one in wrong if writable else ():
            initial[one.torch] = np.array(initial[one.torch])
            weights[one.torch][...] = one.layout.to_torch(wanted)
    return differed
