"""Compare what two frameworks computed without a model in between: a step of an optimiser, a loss, an image.

There is no layer to align and nothing to force: each tensor was computed by both sides, in float32 and in
float64, from the same numbers. Measurements and verdict are those of any other comparison.
"""

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from parity.comparison.metrics import measure
from parity.verdict.record import (
    FORMAT_VERSION,
    Coverage,
    Entry,
    Finding,
    Measurements,
    Mode,
    Note,
    Phase,
    Quantity,
    Unexercised,
)


@dataclasses.dataclass(frozen=True)
class Compared:
    """One tensor, computed four times: four arrays of one shape, in PyTorch's layout.

    Attributes:
        where: the computation: "step 17", "cross_entropy". Consecutive tensors with one name are shown as one layer.
        quantity: the tensor of that computation: "weight", "exp_avg of weight", "output".
        phase: "forward", "backward" or "state".
        torch32, torch64, flax32, flax64: the values.
        source_torch, source_flax: "file:line" of the code that computed it, or "".
    """

    where: str
    quantity: str
    phase: Phase
    torch32: np.ndarray
    torch64: np.ndarray
    flax32: np.ndarray
    flax64: np.ndarray
    source_torch: str = ""
    source_flax: str = ""


def measure_directly(
    compared: Iterable[Compared],
    *,
    environment: dict[str, str],
    mode: Mode = "train",
    findings: tuple[Finding, ...] = (),
    notes: tuple[Note, ...] = (),
) -> Measurements:
    """The measurements of tensors that both sides computed from the same numbers.

    A quantity that is zero wherever it is compared proves nothing, and is reported as not exercised.

    Args:
        compared: in the order of their computation.
        environment: see `parity.engine.environment`.
        mode: under which the entries are listed.
        findings, notes: further causes and remarks.

    Raises:
        ValueError: the two sides have different shapes.
    """
    entries: list[Entry] = []
    scales: dict[str, float] = {}
    for where, group in itertools.groupby(compared, key=lambda tensor: tensor.where):
        tensors = list(group)
        quantities = []
        for tensor in tensors:
            if tensor.torch64.shape != tensor.flax64.shape:
                raise ValueError(
                    f"{where}: {tensor.quantity} has shape {tensor.torch64.shape} in PyTorch and "
                    f"{tensor.flax64.shape} in Flax; they must be compared in one layout."
                )
            metrics = measure(tensor.torch32, tensor.torch64, tensor.flax32, tensor.flax64)
            scales[tensor.quantity] = max(scales.get(tensor.quantity, 0.0), metrics.scale)
            quantities.append(Quantity(tensor.quantity, tensor.phase, metrics, None, None))
        entry = Entry(
            position=len(entries),
            role="layer",
            mode=mode,
            name=where,
            torch=where,
            flax=where,
            kind="",
            call=0,
            source_torch=tensors[0].source_torch,
            source_flax=tensors[0].source_flax,
            quantities=tuple(quantities),
        )
        entries.append(entry)
    return Measurements(
        version=FORMAT_VERSION,
        modes=(mode,),
        entries=tuple(entries),
        findings=findings,
        coverage=_coverage(scales, len(entries)),
        notes=notes,
        environment=environment,
    )


def _coverage(scales: dict[str, float], entries: int) -> Coverage:
    idle = [name for name, scale in scales.items() if scale == 0.0]
    return Coverage(
        parameters=len(scales),
        parameters_exercised=len(scales) - len(idle),
        layers=entries,
        layers_exercised=entries,
        unexercised=tuple(
            Unexercised(name, "is zero in every comparison", "give inputs under which it is not")
            for name in idle
        ),
    )
