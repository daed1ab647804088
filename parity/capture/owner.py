"""What a module owns: the arrays that are its own, by name."""

import dataclasses
from typing import Any

from parity.capture.kinds import torch_kind


@dataclasses.dataclass(frozen=True)
class Owner:
    """A module that holds arrays of its own: their shapes by name, which are trained, and layout options."""

    path: str
    kind: str
    class_name: str
    leaves: dict[str, tuple[int, ...]]
    trainable: tuple[str, ...]
    options: dict[str, int]

    def full(self, leaf: str) -> str:
        """The full name of one of its arrays."""
        return f"{self.path}.{leaf}" if self.path else leaf


def torch_owners(model: Any, order: list[str]) -> list[Owner]:
    """The modules of a PyTorch model that hold arrays, in the order of their first call, then of definition.

    Args:
        model: an `nn.Module`.
        order: module paths in the order in which they were called.
    """
    rank = {path: position for position, path in reversed(list(enumerate(order)))}
    seen: set[int] = set()
    found = []
    for path, module in model.named_modules():
        arrays = {**module._parameters, **module._buffers}
        own = {name: a for name, a in arrays.items() if a is not None and id(a) not in seen}
        seen |= {id(a) for a in own.values()}
        if own:
            leaves = {name: tuple(a.shape) for name, a in own.items()}
            trainable = tuple(name for name in own if name in module._parameters)
            options = {"groups": int(getattr(module, "groups", 1))}
            found.append(Owner(path, torch_kind(module), type(module).__name__, leaves, trainable, options))
    return sorted(found, key=lambda owner: rank.get(owner.path, len(rank)))
