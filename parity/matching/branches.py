"""Pairings for two models that call their branches in another order: which is right, a run of the models tells.

`a = self.left(x); b = self.right(x)` may be written the other way round. Layers of one shape in the two branches are
then not told apart by their order, and where names differ, only by what the models compute.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from parity.capture.flax import FlaxModel, capture_flax
from parity.capture.owner import Owner, owning
from parity.capture.reference import Reference
from parity.errors import CannotCompare
from parity.matching.axes import fits, to_torch
from parity.matching.weights import WeightPlan, compatible, plan_weights

# Each is a run of the Flax model. Two branches that change places are one exchange.
_MOST_RUNS, _MOST_EXCHANGES = 24, 2
# Of more layers not all exchanges are looked for.
_MANY_LAYERS = 60
# Far above the rounding of float32, far below what weights in the wrong place make.
_AGREE = 1e-4

Pairing = tuple[tuple[Any, Any], ...]


def exchanged(
    torch: Sequence[Any], flax: Sequence[Any], fit: Callable[[Any, Any], bool], exchanges: int
) -> Iterator[Pairing]:
    """The pairings of two lists in order, but for so many pairs of neighbouring parts that change places."""
    if len(torch) != len(flax):
        return
    if not exchanges:
        if all(map(fit, torch, flax)):
            yield tuple(zip(torch, flax, strict=True))
        return
    for p in range(1, len(torch)):
        for q in range(1, len(torch) - p + 1):
            both = [
                *zip(torch[:p], flax[q : q + p], strict=True),
                *zip(torch[p : p + q], flax[:q], strict=True),
            ]
            if all(fit(a, b) for a, b in both):
                for rest in exchanged(torch[p + q :], flax[p + q :], fit, exchanges - 1):
                    yield (*both, *rest)
    if torch and fit(torch[0], flax[0]):
        for rest in exchanged(torch[1:], flax[1:], fit, exchanges):
            yield ((torch[0], flax[0]), *rest)


def planned_by_runs(
    reference: Reference,
    flax: FlaxModel,
    owners: list[Owner],
    inputs: list[np.ndarray],
    mapping: dict[str, str],
    seed: int,
) -> WeightPlan | None:
    """The plan of the weights with which the Flax model computes what PyTorch's does in eval mode; None if none is.

    Args:
        reference: PyTorch's side.
        flax: the Flax model.
        owners: its modules in the order of their calls.
        inputs: in its layout.
        mapping: the user's map.
        seed: of the comparison.
    """
    sides = owning(reference.owners), owning(owners)
    known = {(a.path, b.path): compatible(a, b) for a in sides[0] for b in sides[1]}
    most = _MOST_EXCHANGES if len(sides[0]) <= _MANY_LAYERS else 1

    def fit(a: Owner, b: Owner) -> bool:
        return mapping.get(a.path, b.path) == b.path and known[a.path, b.path]

    pairings = itertools.chain.from_iterable(exchanged(*sides, fit, n) for n in range(1, most + 1))
    wanted: list[np.ndarray] | None = None
    for pairing in itertools.islice(pairings, _MOST_RUNS):
        try:
            plan = plan_weights(reference.owners, owners, {**{a.path: b.path for a, b in pairing}, **mapping})
            wanted = _outputs_of_torch(reference) if wanted is None else wanted
            if not plan.ties and _agree(wanted, _outputs(plan, reference, flax, inputs, seed)):
                return plan
        except CannotCompare:
            continue
    return None


def _outputs_of_torch(reference: Reference) -> list[np.ndarray]:
    trace = reference.traces("eval")[1]
    found = [trace.get("#0", "output", index) for index in range(trace.calls[-1].outputs)]
    return [array for array in found if array is not None]


def _outputs(
    plan: WeightPlan, reference: Reference, flax: FlaxModel, inputs: list[np.ndarray], seed: int
) -> list[np.ndarray]:
    values = plan.to_flax(reference.weights)
    trace = capture_flax(
        flax,
        {name: values.get(name, array) for name, array in flax.params.items()},
        {name: values.get(name, array) for name, array in flax.state.items()},
        inputs,
        mode="eval",
        dtype="float32",
        seed=seed,
    )
    found = [trace.get("#0", "output", index) for index in range(trace.calls[-1].outputs)]
    return [array for array in found if array is not None]


def _agree(torch: list[np.ndarray], flax: list[np.ndarray]) -> bool:
    if len(torch) != len(flax) or not all(fits(a.shape, b.shape) for a, b in zip(torch, flax, strict=True)):
        return False
    gaps = [
        np.max(np.abs(to_torch(b, a.shape, False) - a), initial=0.0) for a, b in zip(torch, flax, strict=True)
    ]
    sizes = [np.max(np.abs(a), initial=0.0) for a in torch]
    return all(bool(gap <= _AGREE * size) for gap, size in zip(gaps, sizes, strict=True))
