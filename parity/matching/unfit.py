"""Why the weights of two models do not fit, in one sentence that can be read."""

import itertools

from parity.capture.owner import Owner

# More problems than these are counted, and the first few told.
_MOST = 4


def told(problems: list[str], torch_side: list[Owner], flax_side: list[Owner]) -> str:
    """The problems if they are few; else how many layers each side has, where they first part, and the first problems.

    Args:
        problems: a sentence each.
        torch_side: owners in execution order.
        flax_side: owners in execution order.
    """
    if len(problems) <= _MOST:
        return "; ".join(problems)
    torch_layers, flax_layers = ([o for o in side if o.trainable] for side in (torch_side, flax_side))
    counts = f"PyTorch has {len(torch_layers)} layers with weights and Flax {len(flax_layers)}"
    parts = [counts, *_first_difference(torch_layers, flax_layers), *problems[:2]]
    return "; ".join(parts) + f"; and {len(problems) - 2} more problems like these"


def _first_difference(torch_layers: list[Owner], flax_layers: list[Owner]) -> list[str]:
    for number, (a, b) in enumerate(itertools.zip_longest(torch_layers, flax_layers), 1):
        if a is None or b is None:
            side, owner = ("Flax", b) if a is None else ("PyTorch", a)
            return [f"from the layer {number} on only {side} has any, first {_named(owner)}"]
        if a.kind != b.kind or _sizes(a) != _sizes(b):
            return [f"they first part at layer {number}: {_named(a)} in PyTorch, {_named(b)} in Flax"]
    return []


def _sizes(owner: Owner) -> list[list[int]]:
    """The shapes of what is trained, whatever the order of axes and leaves; axes of one do not count."""
    return sorted(sorted(n for n in owner.leaves[name] if n != 1) for name in owner.trainable)


def _named(owner: Owner | None) -> str:
    assert owner is not None
    shapes = ", ".join(f"{name} {list(owner.leaves[name])}" for name in owner.trainable)
    return f"{owner.class_name or owner.kind} {owner.path!r} ({shapes})"
