"""Pair two lists of modules: by the user's map and by path, then by order where the names differ."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Pairs = list[tuple[Any, Any]]


def path_tokens(path: str) -> tuple[str, ...]:
    """The parts of a module path that do not depend on the framework.

    `layer1.0.conv`, `layer1_0.conv`, `layer1/0/conv` and NNX's `layer1.layers.0.conv` are one path.
    """
    tokens = [token for token in re.split(r"[./_]", path) if token]
    following = [*tokens[1:], ""]
    return tuple(
        token
        for token, after in zip(tokens, following[: len(tokens)], strict=True)
        if not (token == "layers" and after.isdigit())
    )


def pair_by_path(
    torch_side: list[Any], flax_side: list[Any], mapping: dict[str, str]
) -> tuple[Pairs, list[Any], list[Any]]:
    """Pair items with a `path`: by `mapping` first, then where the normalised paths are equal and unique.

    Returns:
        The pairs, and the items of either side that are left.
    """
    flax_by_path = {item.path: item for item in flax_side}
    pairs = [
        (item, flax_by_path[mapping[item.path]])
        for item in torch_side
        if item.path in mapping and mapping[item.path] in flax_by_path
    ]
    mapped_torch = {id(a) for a, _ in pairs}
    mapped_flax = {id(b) for _, b in pairs}
    tokens: dict[tuple[str, ...], list[Any]] = {}
    for item in flax_side:
        if id(item) not in mapped_flax:
            tokens.setdefault(path_tokens(item.path), []).append(item)
    for item in torch_side:
        same = tokens.get(path_tokens(item.path), [])
        if id(item) not in mapped_torch and len(same) == 1:
            pairs.append((item, same.pop()))
    done = {id(x) for pair in pairs for x in pair}
    return pairs, [x for x in torch_side if id(x) not in done], [x for x in flax_side if id(x) not in done]


def pair_by_order(
    torch_side: list[Any], flax_side: list[Any], compatible: Callable[[Any, Any], bool]
) -> tuple[Pairs, list[Any], list[Any], list[str]]:
    """Pair two lists in order, where neighbours may be of one shape.

    If the lists pair off one by one in order, that is the answer; but if the order of some is not known, first if all
    have a partner of their own last name (`stages.0.conv2` and `block1.conv2`). Otherwise items are paired that alone
    have their last name or a single possible partner; items with several are ambiguous.

    Returns:
        The pairs, the items of either side that are left, and one sentence for each ambiguity.
    """
    named = _by_last_name(torch_side, flax_side, compatible)
    is_order = all(getattr(item, "called", True) for item in (*torch_side, *flax_side))
    if not is_order and len(named) == len(torch_side) == len(flax_side):
        return named, [], [], []
    if len(torch_side) == len(flax_side) and all(
        compatible(a, b) for a, b in zip(torch_side, flax_side, strict=True)
    ):
        return list(zip(torch_side, flax_side, strict=True)), [], [], []
    if named:
        done = {id(item) for pair in named for item in pair}
        left_torch = [a for a in torch_side if id(a) not in done]
        left_flax = [b for b in flax_side if id(b) not in done]
        others, *rest = pair_by_order(left_torch, left_flax, compatible)
        return named + others, *rest
    options = {id(a): [b for b in flax_side if compatible(a, b)] for a in torch_side}
    wanted = {id(b): [a for a in torch_side if b in options[id(a)]] for b in flax_side}
    pairs: Pairs = [
        (a, options[id(a)][0])
        for a in torch_side
        if len(options[id(a)]) == 1 and len(wanted[id(options[id(a)][0])]) == 1
    ]
    done = {id(x) for pair in pairs for x in pair}
    ambiguous = [
        f"{a.path!r} may be any of {[b.path for b in options[id(a)]]} in Flax: same kind and shapes, another order"
        for a in torch_side
        if id(a) not in done and options[id(a)]
    ]
    torch_unmatched = [a for a in torch_side if id(a) not in done and not options[id(a)]]
    flax_unmatched = [b for b in flax_side if id(b) not in done and not wanted[id(b)]]
    return pairs, torch_unmatched, flax_unmatched, ambiguous


def _by_last_name(
    torch_side: list[Any], flax_side: list[Any], compatible: Callable[[Any, Any], bool]
) -> Pairs:
    """The pairs whose last name nothing else on either side has; a number is no name."""

    def named(side: list[Any]) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for item in side:
            found.setdefault(path_tokens(item.path)[-1] if item.path else "", []).append(item)
        return {name: items for name, items in found.items() if not name.isdigit()}

    partners = named(flax_side)
    return [
        (items[0], partners[name][0])
        for name, items in named(torch_side).items()
        if len(items) == len(partners.get(name, [])) == 1 and compatible(items[0], partners[name][0])
    ]
