"""Carries weights between a PyTorch model and a Flax model: pairs the parameters and converts their layouts.

pair_owners   pairs modules: by the user's map, by path, by order
link_leaves   pairs the parameters of two paired modules, and finds their layouts (`parity.matching.layouts`)
plan_weights  does both, and reports every problem at once

Where one side ties weights that the other does not (`parity.matching.ties`), a module may own an array only by another
name. Modules are paired without such names if that suffices, and with them otherwise.
"""

import dataclasses

import numpy as np

from parity.capture.kinds import EMBEDDING, LINEAR, OTHER
from parity.capture.owner import Owner, first_names, owning, with_aliases
from parity.errors import WeightsError
from parity.matching.layouts import LEAF_NAMES, fitting
from parity.matching.link import Link
from parity.matching.names import pair_by_order, pair_by_path
from parity.matching.ties import Tie, resolve
from parity.matching.unfit import told

# Flax need not keep this counter: it changes nothing unless momentum is None.
_OPTIONAL_LEAVES = frozenset({"num_batches_tracked"})


@dataclasses.dataclass(frozen=True)
class WeightPlan:
    """How the weights go over.

    `modules` pairs owners (PyTorch path -> Flax path). `unmatched_torch` are the arrays of PyTorch's modules that the
    paired Flax modules do not have; `unmatched_flax` are trained Flax arrays that receive nothing. `doubts` are
    sentences about weights whose layout or partner is a convention and no certainty. `ties` are the arrays that one
    side has once and the other several times.
    """

    links: tuple[Link, ...]
    modules: dict[str, str]
    unmatched_torch: tuple[str, ...]
    unmatched_flax: tuple[str, ...]
    doubts: tuple[str, ...]
    ties: tuple[Tie, ...] = ()

    def tie_of(self, link: Link) -> Tie | None:
        """The tie that a link belongs to."""
        return next((tie for tie in self.ties if link in tie.links), None)

    def to_flax(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """PyTorch's arrays (a state_dict) under Flax's names and in Flax's layouts."""
        # Backwards, so that the first of several that Flax ties is the one that counts.
        return {link.flax: link.layout.to_flax(arrays[link.torch]) for link in reversed(self.links)}

    def to_torch(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Flax's arrays under PyTorch's names and in PyTorch's layouts: the inverse of `to_flax`."""
        return {link.torch: link.layout.to_torch(arrays[link.flax]) for link in self.links}


@dataclasses.dataclass
class _Links:
    """The links of paired owners, and the problems met while linking."""

    links: list[Link] = dataclasses.field(default_factory=list)
    unmatched_torch: list[str] = dataclasses.field(default_factory=list)
    unmatched_flax: list[str] = dataclasses.field(default_factory=list)
    mismatched: list[str] = dataclasses.field(default_factory=list)
    ambiguous: list[str] = dataclasses.field(default_factory=list)
    doubts: list[str] = dataclasses.field(default_factory=list)


def plan_weights(torch_side: list[Owner], flax_side: list[Owner], mapping: dict[str, str]) -> WeightPlan:
    """Decide where every weight goes.

    Args:
        torch_side: owners in execution order.
        flax_side: owners in execution order.
        mapping: the user's map: PyTorch path -> Flax path, of modules or of single parameters.

    Raises:
        WeightsError: weights are unmatched, missing, mismatched in shape, or ambiguous.
    """
    unknown = _unknown_names(torch_side, flax_side, mapping)
    best = _attempt(owning(torch_side), owning(flax_side), mapping)
    if best.cost > (0, 0) and any(owner.aliases for owner in (*torch_side, *flax_side)):
        other = _attempt(with_aliases(torch_side), with_aliases(flax_side), mapping)
        best = min(best, other, key=lambda attempt: attempt.cost)
    links, ties, crossing = resolve(best.links.links, first_names(torch_side), first_names(flax_side))
    problems = unknown + best.problems + crossing
    if problems:
        raise WeightsError(
            "The weights cannot be carried over: "
            + told(problems, torch_side, flax_side)
            + ". Give a map of PyTorch paths to Flax paths."
        )
    return WeightPlan(
        tuple(links),
        best.modules,
        tuple(best.links.unmatched_torch),
        tuple(best.links.unmatched_flax),
        tuple(best.links.doubts),
        tuple(ties),
    )


@dataclasses.dataclass(frozen=True)
class _Attempt:
    """What came of pairing and linking: the links, the pairs of paths, and what speaks against it."""

    links: _Links
    modules: dict[str, str]
    problems: list[str]

    @property
    def cost(self) -> tuple[int, int]:
        """How much is wrong; nothing if (0, 0)."""
        return len(self.problems), len(self.links.unmatched_torch) + len(self.links.unmatched_flax)


def _attempt(torch_side: list[Owner], flax_side: list[Owner], mapping: dict[str, str]) -> _Attempt:
    pairs, rest_torch, rest_flax, problems = pair_owners(torch_side, flax_side, mapping)
    links = _Links()
    for owner_torch, owner_flax in pairs:
        link_leaves(owner_torch, owner_flax, mapping, links)
    problems = problems + links.mismatched + links.ambiguous
    for owner in rest_torch:
        if owner.leaves.keys() <= owner.aliases.keys() or _used_as_head(owner, pairs, links):
            continue
        if owner.trainable:
            problems.append(
                f"PyTorch's {owner.class_name} {owner.path!r} {_shapes(owner)} has no partner in Flax"
            )
        else:
            links.doubts.append(
                f"PyTorch's buffers of {owner.path!r} have no partner in Flax and are not carried"
            )
    for owner in rest_flax:
        if owner.leaves.keys() <= owner.aliases.keys():
            continue
        if owner.trainable:
            problems.append(
                f"Flax's {owner.class_name} {owner.path!r} {_shapes(owner)} has no partner in PyTorch"
            )
        else:
            links.doubts.append(
                f"Flax's constants of {owner.path!r} have no partner in PyTorch and keep their values"
            )
    return _Attempt(links, {t.path: f.path for t, f in pairs}, problems)


def _used_as_head(owner: Owner, pairs: list[tuple[Owner, Owner]], links: _Links) -> bool:
    """Link a dense layer that Flax has not to the one embedding of its shape, which Flax may use a second time.

    `embed.attend` is no module of its own. Whether Flax does so, the comparison of the outputs will tell.
    """
    weight = owner.full("weight")
    embeddings = {torch.full("weight") for torch, _ in pairs if torch.kind == EMBEDDING}
    shapes = {torch.full(leaf): shape for torch, _ in pairs for leaf, shape in torch.leaves.items()}
    same = [x for x in links.links if x.torch in embeddings and shapes[x.torch] == owner.leaves.get("weight")]
    if owner.kind != LINEAR or owner.leaves.keys() != {"weight"} or len(same) != 1:
        return False
    links.links.append(dataclasses.replace(same[0], torch=weight))
    links.doubts.append(f"Flax has no {weight}: it is taken to use {same[0].flax} in its place")
    return True


def pair_owners(
    torch_side: list[Owner], flax_side: list[Owner], mapping: dict[str, str]
) -> tuple[list[tuple[Owner, Owner]], list[Owner], list[Owner], list[str]]:
    """Pair modules by the map and by path; where paths do not tell all, by order.

    Names such as `features.3` may agree by accident. If some modules are without a partner of their name, and
    the pairs by name do not fit or cross the order of execution, only the order is trusted.

    Returns:
        The pairs, the modules of either side that are left, and one sentence for each ambiguity.
    """
    pairs, rest_torch, rest_flax = pair_by_path(torch_side, flax_side, mapping)
    by_order, left_torch, left_flax, ambiguous = pair_by_order(rest_torch, rest_flax, compatible)
    torch_position = {owner.path: position for position, owner in enumerate(torch_side)}
    flax_position = {owner.path: position for position, owner in enumerate(flax_side)}
    in_torch_order = sorted(pairs + by_order, key=lambda pair: torch_position[pair[0].path])
    positions = [flax_position[owner.path] for _, owner in in_torch_order]
    accidental = positions != sorted(positions) or not all(compatible(a, b) for a, b in pairs)
    if (rest_torch or rest_flax) and accidental:
        mapped = [(a, b) for a, b in pairs if mapping.get(a.path) == b.path]
        done = {id(owner) for pair in mapped for owner in pair}
        torch_owners = [owner for owner in torch_side if id(owner) not in done]
        flax_owners = [owner for owner in flax_side if id(owner) not in done]
        ordered, no_torch, no_flax, doubtful = pair_by_order(torch_owners, flax_owners, compatible)
        if not (no_torch or no_flax or doubtful):
            return mapped + ordered, [], [], []
    return pairs + by_order, left_torch, left_flax, ambiguous


def compatible(torch_side: Owner, flax_side: Owner) -> bool:
    """Whether the two could be one module: the leaves that both name fit in shape, and one at least does."""
    links = _Links()
    link_leaves(torch_side, flax_side, {}, links)
    optional = [name for name in links.unmatched_torch if not name.endswith(".bias")]
    return bool(links.links) and not (
        links.mismatched or links.ambiguous or optional or _weight_missing(links)
    )


def _weight_missing(links: _Links) -> bool:
    return any(name.rpartition(".")[2] not in ("bias", "b", "beta") for name in links.unmatched_flax)


def link_leaves(torch_side: Owner, flax_side: Owner, mapping: dict[str, str], links: _Links) -> None:
    """Link the arrays of two paired modules; add links and problems to `links`."""
    free = dict(flax_side.leaves)
    options = {
        "groups": torch_side.options.get("groups", 1),
        "transpose_kernel": bool(flax_side.options.get("transpose_kernel", 0)),
    }
    for leaf, shape in torch_side.leaves.items():
        name = _partner(torch_side, flax_side, leaf, free, mapping)
        if name is None:
            if leaf not in _OPTIONAL_LEAVES and leaf not in torch_side.aliases:
                links.unmatched_torch.append(torch_side.full(leaf))
            continue
        if isinstance(name, list):
            links.ambiguous.append(
                f"{torch_side.full(leaf)!r} may be any of {[flax_side.full(n) for n in name]}, which share its shape"
            )
            continue
        target = free.pop(name)
        layouts = fitting(torch_side.kind, leaf, shape, target, **options)
        if not layouts:
            links.mismatched.append(
                f"{torch_side.full(leaf)!r} {list(shape)} does not fit {flax_side.full(name)!r} {list(target)}"
            )
            continue
        doubtful = len(shape) > 1 and (
            (len(layouts) > 1 and name == "weight") or _bare_square(torch_side, shape)
        )
        if doubtful:
            links.doubts.append(
                f"{flax_side.full(name)!r} {list(target)} fits with and without a transposition; "
                f"the layout {layouts[0].name!r} was taken"
            )
        links.links.append(
            Link(
                torch_side.full(leaf),
                flax_side.full(name),
                layouts[0],
                leaf in torch_side.trainable,
                name in flax_side.trainable,
            )
        )
    missing = [name for name in free if name in flax_side.trainable and name not in flax_side.aliases]
    links.unmatched_flax += map(flax_side.full, missing)


def _bare_square(owner: Owner, shape: tuple[int, ...]) -> bool:
    return owner.kind == OTHER and len(shape) == 2 and shape[0] == shape[1]


def _partner(
    torch_side: Owner, flax_side: Owner, leaf: str, free: dict[str, tuple[int, ...]], mapping: dict[str, str]
) -> str | list[str] | None:
    """The Flax leaf for a PyTorch leaf: by the map, by a known name, else the only free one of its shape."""
    wanted = mapping.get(torch_side.full(leaf))
    if wanted is not None:
        return next((name for name in free if flax_side.full(name) == wanted), None)
    for name in (
        (*LEAF_NAMES[torch_side.kind].get(leaf, ()), leaf) if torch_side.kind in LEAF_NAMES else (leaf,)
    ):
        if name in free:
            return name
    if torch_side.kind in LEAF_NAMES and torch_side.kind != OTHER:
        return None
    taken = set(torch_side.leaves) & set(flax_side.leaves)
    shape = [n for n in torch_side.leaves[leaf] if n != 1]
    same = [n for n, s in free.items() if n not in taken and [k for k in s if k != 1] == shape]
    if len(same) > 1:
        return same
    return same[0] if same else None


def _shapes(owner: Owner) -> str:
    return "(" + ", ".join(f"{name} {list(shape)}" for name, shape in owner.leaves.items()) + ")"


def _unknown_names(torch_side: list[Owner], flax_side: list[Owner], mapping: dict[str, str]) -> list[str]:
    known_torch, known_flax = (
        {n for o in side for n in (o.path, *(o.full(leaf) for leaf in (*o.leaves, *o.aliases)))}
        for side in (torch_side, flax_side)
    )
    unknown = [
        f"the map names {k!r}, which holds no weight in PyTorch" for k in mapping if k not in known_torch
    ]
    return unknown + [
        f"the map names {v!r}, which holds no weight in Flax" for v in mapping.values() if v not in known_flax
    ]
