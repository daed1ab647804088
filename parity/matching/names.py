"""Pair two lists of modules: by the user's map and by path, then by order where the names differ."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Pairs = list[tuple[Any, Any]]


def path_tokens(path: str) -> tuple[str, ...]:
    """A module path without what the frameworks write differently.

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
    left: list[Any], right: list[Any], mapping: dict[str, str]
) -> tuple[Pairs, list[Any], list[Any]]:
    """Pair items with a `path`: by `mapping` first, then where the normalised paths are equal and unique.

    Returns:
        The pairs, and what is left of either side.
    """
    by_right = {item.path: item for item in right}
    pairs = [
        (item, by_right[mapping[item.path]])
        for item in left
        if item.path in mapping and mapping[item.path] in by_right
    ]
    mapped_left = {id(a) for a, _ in pairs}
    mapped_right = {id(b) for _, b in pairs}
    tokens: dict[tuple[str, ...], list[Any]] = {}
    for item in right:
        if id(item) not in mapped_right:
            tokens.setdefault(path_tokens(item.path), []).append(item)
    for item in left:
        same = tokens.get(path_tokens(item.path), [])
        if id(item) not in mapped_left and len(same) == 1:
            pairs.append((item, same.pop()))
    done = {id(x) for pair in pairs for x in pair}
    return pairs, [x for x in left if id(x) not in done], [x for x in right if id(x) not in done]


def pair_by_order(
    left: list[Any], right: list[Any], compatible: Callable[[Any, Any], bool]
) -> tuple[Pairs, list[Any], list[Any], list[str]]:
    """Pair two lists in order, where neighbours may be of one shape.

    If the lists pair off one by one in order, that is the answer. Otherwise only items with a single possible
    partner are paired; those with several possible partners, in an order that differs, are ambiguous.

    Returns:
        The pairs, what is left of either side, and one sentence for each ambiguity.
    """
    if len(left) == len(right) and all(compatible(a, b) for a, b in zip(left, right, strict=True)):
        return list(zip(left, right, strict=True)), [], [], []
    options = {id(a): [b for b in right if compatible(a, b)] for a in left}
    wanted = {id(b): [a for a in left if b in options[id(a)]] for b in right}
    pairs: Pairs = [
        (a, options[id(a)][0])
        for a in left
        if len(options[id(a)]) == 1 and len(wanted[id(options[id(a)][0])]) == 1
    ]
    done = {id(x) for pair in pairs for x in pair}
    ambiguous = [
        f"{a.path!r} may be any of {[b.path for b in options[id(a)]]} in Flax: same kind and shapes, another order"
        for a in left
        if id(a) not in done and options[id(a)]
    ]
    left_over = [a for a in left if id(a) not in done and not options[id(a)]]
    right_over = [b for b in right if id(b) not in done and not wanted[id(b)]]
    return pairs, left_over, right_over, ambiguous
