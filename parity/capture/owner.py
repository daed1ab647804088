"""What a module owns: the arrays that are its own, by name."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from typing import Any

from parity.capture.kinds import torch_kind


@dataclasses.dataclass(frozen=True)
class Owner:
    """A module that holds arrays: their shapes by name, which are trained, and layout options.

    `aliases` are its arrays that another module owns: from the name here to the full name there. `called`: a call of it
    was recorded, so that its place in the order is known.
    """

    path: str
    kind: str
    class_name: str
    leaves: dict[str, tuple[int, ...]]
    trainable: tuple[str, ...]
    options: dict[str, int]
    aliases: dict[str, str] = dataclasses.field(default_factory=dict)
    called: bool = True

    def full(self, leaf: str) -> str:
        """The full name of one of its arrays."""
        return f"{self.path}.{leaf}" if self.path else leaf


def owning(owners: list[Owner]) -> list[Owner]:
    """The modules that own arrays, without those of others."""
    return [
        dataclasses.replace(o, trainable=tuple(n for n in o.trainable if n in o.leaves), aliases={})
        for o in owners
        if o.leaves
    ]


def first_names(owners: list[Owner]) -> dict[str, str]:
    """Every other name of an array -> its first."""
    return {owner.full(leaf): first for owner in owners for leaf, first in owner.aliases.items()}


def with_aliases(owners: list[Owner]) -> list[Owner]:
    """The same modules, each with the arrays of others among its leaves."""
    shapes = {owner.full(leaf): shape for owner in owners for leaf, shape in owner.leaves.items()}
    return [
        dataclasses.replace(o, leaves=o.leaves | {name: shapes[first] for name, first in o.aliases.items()})
        for o in owners
    ]


def repeated(owners: list[Owner], order: Sequence[str]) -> list[Owner]:
    """The modules, and in the place of each further call of one a module that has the same arrays by another name.

    Args:
        owners: in any order.
        order: the paths of all calls; modules that are not called come last.
    """
    by_path, calls, found = {owner.path: owner for owner in owners}, Counter[str](), []
    for path in order:
        owner = by_path.get(path)
        if owner is None:
            continue
        calls[path] += 1
        if calls[path] == 1:
            found.append(owner)
        elif owner.leaves:
            names = {leaf: owner.full(leaf) for leaf in owner.leaves}
            again = f"{path} (call {calls[path]})"
            found.append(dataclasses.replace(owner, path=again, leaves={}, aliases=names))
    return found + [owner for owner in owners if owner.path not in calls]


def torch_owners(model: Any, order: list[str]) -> list[Owner]:
    """The modules of a PyTorch model that hold arrays, in the order of their first call, then of definition.

    Args:
        model: an `nn.Module`.
        order: module paths in the order in which they were called.
    """
    rank = {path: position for position, path in reversed(list(enumerate(order)))}
    first: dict[int, str] = {}
    found = []
    for path, module in model.named_modules(remove_duplicate=False):
        arrays = {n: a for n, a in {**module._parameters, **module._buffers}.items() if a is not None}
        aliases = {name: first[id(a)] for name, a in arrays.items() if id(a) in first}
        leaves = {name: tuple(a.shape) for name, a in arrays.items() if name not in aliases}
        first |= {id(arrays[name]): f"{path}.{name}" if path else name for name in leaves}
        if arrays:
            trainable = tuple(name for name in arrays if name in module._parameters)
            options = {"groups": int(getattr(module, "groups", 1))}
            parts = torch_kind(module), type(module).__name__, leaves, trainable, options, aliases
            found.append(Owner(path, *parts))
    return sorted(found, key=lambda owner: rank.get(owner.path, len(rank)))
