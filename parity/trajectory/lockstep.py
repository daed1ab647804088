"""Trains both sides in step: four free runs and three controls.

The free runs are PyTorch and Flax, each in float64 and in float32. Their differences are inherited from all steps
before. A control makes each step alone, from the weights and statistics of PyTorch's float64 run (rounded in float32):

    flax64, flax32      gradient and statistics, then the update that PyTorch's gradients give
    shadow              PyTorch in float32, whose rounding the verdict needs

The optimiser of a control has only seen PyTorch's gradients, so its state is that of a right port at that step.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from parity.errors import CannotCompare
from parity.matching.weights import WeightPlan
from parity.trajectory.flax_side import FlaxRun
from parity.trajectory.masks import Masks
from parity.trajectory.record import PHASES, Difference, FourRuns, StepPhase, StepTensor
from parity.trajectory.stream import Batch
from parity.trajectory.torch_side import Gradients, TorchRun
from parity.trajectory.widening import WideUpdate

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class StepRecord:
    """The measurements of one step.

    `options` are PyTorch's numbers of this update, besides the rate. `wide` is what was lifted of Flax's update.
    Arrays have PyTorch's names and layouts. `before` and `gradients` are the inputs of the update in PyTorch's float64
    run, `after_torch` is its result, and `after_flax` is that of the control in float64.
    """

    number: int
    learning_rate: float
    next_learning_rate: float
    options: dict[str, float]
    wide: WideUpdate | None
    loss: FourRuns
    gradient_norm: FourRuns
    introduced: tuple[StepTensor, ...]
    distance32: float
    distance64: float
    rounding: float
    before: Arrays
    gradients: Arrays
    after_torch: Arrays
    after_flax: Arrays
    batch: Batch
    state_before: Arrays


@dataclasses.dataclass
class _FlaxFree:
    """A free Flax run."""

    run: FlaxRun
    params: Arrays
    state: Arrays
    optimiser_state: object

    def step(self, batch: Batch, masks: Arrays) -> Gradients:
        gradients = self.run.gradients(self.params, self.state, batch.x, batch.y, masks)
        self.state = gradients.state
        after, self.optimiser_state = self.run.update(gradients.gradients, self.optimiser_state, self.params)
        self.params = {**self.params, **after}
        return gradients


@dataclasses.dataclass(frozen=True)
class Sides:
    """Everything that the steps act on.

    Attributes:
        torch: makes a PyTorch run of a dtype, at the first weights.
        flax: makes a Flax run of a dtype.
        plan: how arrays go from one side to the other.
        params, state: Flax's at the first step.
        to_flax_input: a batch's inputs from PyTorch's layout to Flax's.
        masks: the random factors of a step: PyTorch's as a function of the call; Flax's by call, once PyTorch has run.
        order: PyTorch paths of layers in the order of execution.
    """

    torch: Callable[[str], TorchRun]
    flax: Callable[[str], FlaxRun]
    plan: WeightPlan
    params: Arrays
    state: Arrays
    to_flax_input: Callable[[np.ndarray], np.ndarray]
    masks: Callable[[int], tuple[Masks, Callable[[], Arrays]]]
    order: dict[str, int]


def steps(sides: Sides, stream: Iterable[Batch]) -> Iterator[StepRecord]:
    """Train all runs on the batches of `stream`, and yield the record of each step.

    Raises:
        CannotCompare: a side reaches NaN or infinity; side, precision and step are named.
    """
    torch64, torch32, shadow = (sides.torch(dtype) for dtype in ("float64", "float32", "float32"))
    runs = {dtype: sides.flax(dtype) for dtype in ("float64", "float32")}
    free = {d: _FlaxFree(run, sides.params, sides.state, run.init(sides.params)) for d, run in runs.items()}
    control = {dtype: run.init(sides.params) for dtype, run in runs.items()}
    for number, batch in enumerate(stream):
        masks, flax_masks = sides.masks(number)
        start, before = torch64.state(), torch64.params()
        rate, options = torch64.learning_rate, torch64.options
        shadow.put({**start, **before})
        t64, t32, local = (run.gradients(batch.x, batch.y, masks) for run in (torch64, torch32, shadow))
        flax_batch, given = Batch(sides.to_flax_input(batch.x), batch.y), flax_masks()
        point = _at(sides, {**start, **before})
        forced = {
            dtype: run.gradients(*point, flax_batch.x, flax_batch.y, given) for dtype, run in runs.items()
        }
        gradients = _carried(sides.plan, t64.gradients)
        updated = {}
        for dtype, run in runs.items():
            updated[dtype], control[dtype] = run.update(gradients, control[dtype], point[0])
        torch64.update(t64.gradients)
        torch32.update(t32.gradients)
        shadow.update(t64.gradients)
        f64, f32 = (free[dtype].step(flax_batch, given) for dtype in ("float64", "float32"))
        loss = FourRuns(t32.loss, t64.loss, f32.loss, f64.loss)
        _check_finite(number, loss, {"PyTorch": torch64.params(), "Flax": free["float64"].params})
        _check_finite(number, loss, {"PyTorch": torch32.params(), "Flax": free["float32"].params}, "float32")
        introduced = [
            *_compared(sides, (local, t64, forced["float32"], forced["float64"])),
            *_updates(sides, (shadow.params(), torch64.params()), (updated["float32"], updated["float64"])),
        ]
        distances = _distances(sides, torch32.params(), torch64.params(), free)
        yield StepRecord(
            number=number,
            learning_rate=rate,
            next_learning_rate=torch64.learning_rate,
            options=options,
            wide=runs["float64"].wide,
            loss=loss,
            gradient_norm=FourRuns(t32.norm, t64.norm, f32.norm, f64.norm),
            introduced=tuple(introduced),
            distance32=distances[0],
            distance64=distances[1],
            rounding=distances[2],
            before=before,
            gradients=t64.gradients,
            after_torch=torch64.params(),
            after_flax=_named(sides.plan, updated["float64"]),
            batch=batch,
            state_before=start,
        )


def _carried(plan: WeightPlan, arrays: Arrays) -> Arrays:
    """Those of PyTorch's arrays that have a link, under Flax's names and in its layouts."""
    return {link.flax: link.layout.to_flax(arrays[link.torch]) for link in plan.links if link.torch in arrays}


def _at(sides: Sides, arrays: Arrays) -> tuple[Arrays, Arrays]:
    """Flax's parameters and state with the values of PyTorch's arrays."""
    carried = _carried(sides.plan, arrays)
    params = {name: carried.get(name, value) for name, value in sides.params.items()}
    state = {name: carried.get(name, value) for name, value in sides.state.items()}
    return params, state


def _named(plan: WeightPlan, arrays: Arrays) -> Arrays:
    """Those of Flax's arrays that have a link, under PyTorch's names and in its layouts."""
    return {link.torch: link.layout.to_torch(arrays[link.flax]) for link in plan.links if link.flax in arrays}


def _compared(sides: Sides, runs: tuple[Gradients, Gradients, Gradients, Gradients]) -> list[StepTensor]:
    """Loss, statistics and gradients of one step, in the order of execution.

    `runs` are PyTorch in float32 and float64 and Flax in float32 and float64, all from the same weights.
    """
    losses = (np.asarray(run.loss) for run in runs)
    compared = [StepTensor("forward", "loss", "loss", Difference.of(*losses))]
    for phase, group in (("state", "state"), ("backward", "gradients")):
        torch = [getattr(run, group) for run in runs[:2]]
        flax = [_named(sides.plan, getattr(run, group)) for run in runs[2:]]
        compared += _in_order(sides, phase, "gradient of {}" if group == "gradients" else "{}", torch, flax)
    return compared


def _updates(sides: Sides, torch: tuple[Arrays, Arrays], flax: tuple[Arrays, Arrays]) -> list[StepTensor]:
    return _in_order(
        sides, "update", "{} after the update", list(torch), [_named(sides.plan, a) for a in flax]
    )


def _in_order(
    sides: Sides, phase: StepPhase, wording: str, torch: list[Arrays], flax: list[Arrays]
) -> list[StepTensor]:
    compared = []
    for name in sorted(torch[1], key=lambda name: sides.order.get(name.rpartition(".")[0], len(sides.order))):
        arrays = [side.get(name) for side in (*torch, *flax)]
        if all(a is not None and np.issubdtype(a.dtype, np.floating) for a in arrays):
            layer, _, leaf = name.rpartition(".")
            compared.append(StepTensor(phase, layer or "model", wording.format(leaf), Difference.of(*arrays)))
    return compared


def _distances(
    sides: Sides, torch32: Arrays, torch64: Arrays, free: dict[str, _FlaxFree]
) -> tuple[float, float, float]:
    flax32, flax64 = (_flat(_named(sides.plan, free[d].params), torch64) for d in ("float32", "float64"))
    t32, t64 = _flat(torch32, torch64), _flat(torch64, torch64)
    rounding = max(_relative(t32, t64), _relative(flax32, flax64))
    return _relative(flax32, t32), _relative(flax64, t64), rounding


def _flat(arrays: Arrays, names: Arrays) -> np.ndarray:
    return np.concatenate([arrays[name].ravel().astype(np.float64) for name in names if name in arrays])


def _relative(a: np.ndarray, b: np.ndarray) -> float:
    size = float(np.linalg.norm(b))
    return float(np.linalg.norm(a - b)) / size if size else 0.0


def _check_finite(number: int, loss: FourRuns, sides: dict[str, Arrays], dtype: str = "float64") -> None:
    bits = dtype.removeprefix("float")
    for side, params in sides.items():
        value = getattr(loss, f"{side.removeprefix('Py').lower()}{bits}")
        culprit = "" if np.isfinite(value) else "the loss"
        culprit = culprit or next((name for name, a in params.items() if not np.all(np.isfinite(a))), "")
        if culprit:
            raise CannotCompare(
                f"The {side} side reaches NaN or infinity at step {number} in {dtype}, first in {culprit}: lower the "
                "learning rate, clip the gradient, or train for fewer steps."
            )


def first_divergence(
    introduced: tuple[StepTensor, ...], ratio: Callable[[Difference], float]
) -> StepTensor | None:
    """The first tensor of a step, in the order of its computation, that rounding does not explain."""
    for phase in PHASES:
        for tensor in introduced:
            if tensor.phase == phase and ratio(tensor.difference) > 1:
                return tensor
    return None
