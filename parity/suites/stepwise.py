"""Turns the recordings of both frameworks, step by step and in two precisions, into tensors to compare."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.comparison.direct import Compared
from parity.errors import CannotCompare
from parity.verdict.record import Phase

# One dictionary a step: the tensors of that step by name, in PyTorch's layout.
Recording = list[dict[str, np.ndarray]]


class Runs(NamedTuple):
    """The same steps by both frameworks, in both precisions."""

    torch32: Recording
    torch64: Recording
    flax32: Recording
    flax64: Recording


def unstacked(arrays: Mapping[str, Any]) -> Recording:
    """Arrays `[steps, ...]` by name, as a recording."""
    whole = {name: np.asarray(array) for name, array in arrays.items()}
    steps = {len(array) for array in whole.values()}
    if len(steps) != 1:
        raise ValueError(f"Every recorded array must have one length, but there are {sorted(steps)}.")
    # A row of a vector would be a number, not an array.
    return [{name: np.asarray(array[step]) for name, array in whole.items()} for step in range(steps.pop())]


def by_step(
    runs: Runs,
    phases: Mapping[str, Phase] | None = None,
    *,
    unit: str = "step",
    source_torch: str = "",
    source_flax: str = "",
) -> list[Compared]:
    """The tensors of every step, each compared alone: "step 17", "exp_avg of fc.weight".

    Args:
        runs: recordings of the same steps with the same names; the order is that of `torch64`.
        phases: the phase of a tensor by its name, "state" where none is given.
        unit: the word before the number of a step, which counts from 0.
        source_torch, source_flax: "file:line" of the code of each side.

    Raises:
        CannotCompare: the runs record different steps or tensors, or a value that is not finite.
    """
    phases = phases or {}
    lengths = {name: len(recording) for name, recording in runs._asdict().items()}
    if len(set(lengths.values())) > 1:
        raise CannotCompare(f"The runs have different numbers of steps ({lengths}): record the same steps.")
    compared = []
    for number, step in enumerate(zip(*runs, strict=True)):
        where = f"{unit} {number}"
        _check(where, dict(zip(Runs._fields, step, strict=True)))
        for name in step[1]:
            arrays = [side[name] for side in step]
            phase = phases.get(name, "state")
            compared.append(Compared(where, name, phase, *arrays, source_torch, source_flax))
    return compared


def _check(where: str, sides: dict[str, dict[str, np.ndarray]]) -> None:
    names = {side: sorted(arrays) for side, arrays in sides.items()}
    if any(recorded != names["torch64"] for recorded in names.values()):
        raise CannotCompare(
            f"At {where} the runs recorded different tensors ({names}): map each to the same name."
        )
    for side, arrays in sides.items():
        for name, array in arrays.items():
            if not np.isfinite(array).all():
                framework = "PyTorch" if side.startswith("torch") else "Flax"
                raise CannotCompare(
                    f"At {where} {name} of {framework} is not finite in float{side[-2:]}, so nothing can be proven "
                    "from there on: choose options under which the run stays finite."
                )
