"""Trains the user's two models in step, judges every step, and names the cause of a divergence."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from parity.capture.sampling import with_draws
from parity.capture.trace import Trace
from parity.diagnose.training.optimiser import rule_of
from parity.diagnose.training.update_rules import UpdateRule
from parity.engine import Engine, environment
from parity.errors import CannotCompare
from parity.matching.axes import to_flax
from parity.matching.calls import align
from parity.matching.drawing import pair_drawing
from parity.trajectory import flax_side, lockstep, torch_side
from parity.trajectory.explain import explain, touched_statistics
from parity.trajectory.lockstep import Arrays, Sides, StepRecord, first_divergence
from parity.trajectory.masks import Layer, Masks, drawing_paths, factor_of, partners
from parity.trajectory.record import PHASES, TRAJECTORY_VERSION, Step, StepDivergence, StepTensor, Trajectory
from parity.trajectory.stream import Batch, batches, same_batches
from parity.trajectory.together import growth, loss_divergence
from parity.trajectory.widening import WideUpdate, rate_notes, rate_rounding
from parity.verdict.policy import Policy, explained
from parity.verdict.record import Cause, Note, Unexercised, Verdict


@dataclasses.dataclass(frozen=True)
class Training:
    """How both sides are trained.

    Attributes:
        torch_optimiser: takes the list of trained parameters; returns a `torch.optim.Optimizer`, or
            `(optimizer, scheduler)`, whose scheduler is stepped after every update.
        flax_optimiser: an optax transformation of a dictionary of parameters by Flax path, with schedule and clipping.
        torch_loss, flax_loss: of the model's first output and the targets; by default the mean cross-entropy.
        label_smoothing: of the default losses.
        clip_norm: PyTorch's gradients are clipped to this global norm; Flax's optimiser clips its own.
    """

    torch_optimiser: torch_side.TorchOptimiser
    flax_optimiser: Any
    torch_loss: Any = None
    flax_loss: Any = None
    label_smoothing: float = 0.0
    clip_norm: float | None = None


def train(
    torch_model: Any,
    flax_model: Any,
    stream: Iterable[Any] | tuple[Iterable[Any], Iterable[Any]],
    training: Training,
    *,
    steps: int = 100,
    seed: int = 0,
    map: Any = None,
    policy: Policy | None = None,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    """Train a Flax model and its PyTorch twin in step, and judge every step.

    Both start from PyTorch's weights and statistics and see the same batches and random factors. See
    `parity.trajectory.lockstep` for what is run and `parity.verdict.policy` for the rule, which a single step must
    satisfy.

    Args:
        torch_model: an `nn.Module`; it is not changed.
        flax_model: an `nnx.Module`, a Linen module, or `(linen_module, variables)`.
        stream: batches (x, y) with x in PyTorch's layout and y labels or probabilities; or a tuple of two such
            streams, PyTorch's and Flax's, which must be equal.
        training: optimisers and losses.
        steps: how many updates to make.
        seed: of what layers draw.
        map: PyTorch path -> Flax path, where names and order do not tell.
        policy: thresholds of the judge.
        progress: called with the number of each finished step.

    Raises:
        CannotCompare: the models, optimisers or batches cannot be compared, or a side reaches NaN.
    """
    policy = policy or Policy()
    given = same_batches(*stream, steps) if isinstance(stream, tuple) else batches(stream, steps)
    first = next(given)
    engine = Engine.start(
        torch_model,
        flax_model,
        [first.x],
        seed=seed,
        mapping=map,
        objective="projection",
        perturbed=False,
        policy=policy,
    )
    sides = _sides(torch_model, engine, training)
    kept, compressed = _Kept(policy), []
    for record in lockstep.steps(sides, itertools.chain([first], given)):
        compressed.append(kept.add(record))
        if progress is not None:
            progress(record.number)
    rule = rule_of(sides.torch("float64").optimiser, training.clip_norm)
    return _judged(torch_model, flax_model, engine, kept, tuple(compressed), rule, map)


class _Kept:
    """Keeps those parts of the steps that the verdict and the explanation need."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.divergence: tuple[StepRecord, StepTensor] | None = None
        self.samples: list[StepRecord] = []
        self.largest = 0.0
        self.gradient_scale: dict[str, float] = {}
        self.wide: WideUpdate | None = None
        # The largest relative difference of the rates, where float32 explains it and Flax's could not be lifted.
        self.rate_rounding = 0.0

    def add(self, record: StepRecord) -> Step:
        ratio, self.wide = self._ratio, record.wide
        judged = record.introduced
        rounded = rate_rounding(record) if record.wide is not None and record.wide.left else None
        if rounded is not None:
            self.rate_rounding = max(self.rate_rounding, rounded)
            judged = tuple(tensor for tensor in judged if tensor.phase != "update")
        self.largest = max([self.largest, *(ratio(tensor.difference) for tensor in judged)])
        if self.divergence is None:
            first = first_divergence(judged, ratio)
            self.divergence = None if first is None else (record, first)
        for name, gradient in record.gradients.items():
            size = float(np.max(np.abs(gradient), initial=0.0))
            self.gradient_scale[name] = max(self.gradient_scale.get(name, 0.0), size)
        self.samples.append(_sampled(record))
        by_phase = [[tensor for tensor in record.introduced if tensor.phase == phase] for phase in PHASES]
        return Step(
            number=record.number,
            learning_rate=record.learning_rate,
            loss=record.loss,
            gradient_norm=record.gradient_norm,
            worst=tuple(
                max(group, key=lambda tensor: ratio(tensor.difference)) for group in by_phase if group
            ),
            distance32=record.distance32,
            distance64=record.distance64,
            rounding=record.rounding,
        )

    def _ratio(self, difference: Any) -> float:
        return float(difference.ratio(self.policy))


# At every step this many elements of every tensor are kept, to identify the optimiser.
_SAMPLED = 64


def _sampled(record: StepRecord) -> StepRecord:
    """The record with the first elements of every array, and without its batch."""

    def few(arrays: Arrays) -> Arrays:
        return {name: a.ravel()[:_SAMPLED].copy() for name, a in arrays.items()}

    return dataclasses.replace(
        record,
        introduced=(),
        before=few(record.before),
        gradients=few(record.gradients),
        after_torch=few(record.after_torch),
        after_flax=few(record.after_flax),
        batch=Batch(np.zeros(0), np.zeros(0)),
        state_before={},
    )


def _judged(
    torch_model: Any,
    flax_model: Any,
    engine: Engine,
    kept: _Kept,
    taken: tuple[Step, ...],
    rule: UpdateRule | None,
    mapping: Any,
) -> Trajectory:
    unexercised = tuple(
        Unexercised(
            name, "its gradient is zero at every step", "train on data, or from weights, that reach it"
        )
        for name, size in kept.gradient_scale.items()
        if size == 0.0
    )
    causes: tuple[Cause, ...] = touched_statistics(engine)
    notes = [*engine.notes]
    divergence = None
    if kept.divergence is not None:
        record, first = kept.divergence
        explanation = explain(
            torch_model, flax_model, record, first, kept.samples, rule, mapping, kept.policy
        )
        layer = explanation.layer or first.layer
        divergence = StepDivergence(record.number, layer, first.phase, first.quantity)
        causes += explanation.causes
        notes += explanation.notes
    elif causes:
        divergence = StepDivergence(0, causes[0].layer, "state", "statistics before the first step")
    notes += rate_notes(kept.wide, kept.rate_rounding)
    free = max((_free_ratio(step, kept.policy) for step in taken), default=0.0)
    if divergence is None and free > 1 and not kept.rate_rounding:
        message = f"the free runs diverge {free:.1f} times faster than rounding predicts: ties decide"
        notes.append(Note("kink", "", message))
    unproven = unexercised or kept.rate_rounding
    verdict: Verdict = "divergent" if divergence else "inconclusive" if unproven else "equivalent"
    return Trajectory(
        version=TRAJECTORY_VERSION,
        verdict=verdict,
        divergence=divergence,
        causes=causes,
        steps=taken,
        growth32=growth([step.distance32 for step in taken]),
        growth64=growth([step.distance64 for step in taken]),
        parted32=loss_divergence(taken),
        free_ratio=free,
        margin=math.inf if kept.largest == 0 else 1 / kept.largest,
        unexercised=unexercised,
        notes=tuple(dict.fromkeys(notes)),
        environment=environment(engine.sides.flax.framework, engine.sides.seed),
        policy=dataclasses.asdict(kept.policy),
    )


def _free_ratio(step: Step, policy: Policy) -> float:
    """The distance of the free float64 runs over the distance that their float32 rounding allows."""
    return step.distance64 / explained(step.rounding, 1.0, policy)


def _sides(torch_model: Any, engine: Engine, training: Training) -> Sides:
    if engine.sides.plan.ties:
        tied = ", ".join(link.torch for link in engine.sides.plan.ties[0].links)
        raise CannotCompare(
            f"One side ties {tied} and the other does not, so the two part at the first update: tie them on both "
            "sides (parity explain weight-tying)."
        )
    torch_loss = training.torch_loss or torch_side.cross_entropy(training.label_smoothing)
    flax_loss = training.flax_loss or flax_side.cross_entropy(training.label_smoothing)
    trained = {link.flax for link in engine.sides.plan.links if link.torch_trainable and link.flax_trainable}
    frozen = set(engine.sides.reference.frozen)
    trained -= {link.flax for link in engine.sides.plan.links if link.torch in frozen}
    names = tuple(name for name in engine.sides.params if name in trained)
    if not hasattr(training.flax_optimiser, "update") or not hasattr(training.flax_optimiser, "init"):
        raise CannotCompare(
            f"Flax's optimiser is a {type(training.flax_optimiser).__name__}; give an optax.GradientTransformation."
        )

    torch32, _ = engine.sides.reference.traces("train")
    drawing = drawing_paths(torch32)

    def torch_run(dtype: str) -> torch_side.TorchRun:
        model = torch_model.cpu()
        return torch_side.TorchRun(
            model, dtype, training.torch_optimiser, torch_loss, training.clip_norm, drawing
        )

    def flax_run(dtype: str) -> flax_side.FlaxRun:
        return flax_side.FlaxRun(engine.sides.flax, names, dtype, training.flax_optimiser, flax_loss)

    return Sides(
        torch=torch_run,
        flax=flax_run,
        plan=engine.sides.plan,
        params=engine.sides.params,
        state=engine.sides.state,
        to_flax_input=lambda x: engine.sides.to_flax([x])[0],
        masks=_masks(engine, torch32),
        order={owner.path: position for position, owner in enumerate(engine.sides.reference.owners)},
    )


def _masks(engine: Engine, torch32: Trace) -> Callable[[int], tuple[Masks, Callable[[], Arrays]]]:
    """The factors of every step, for PyTorch's calls and their partners of Flax."""
    paired = _drawing_partners(engine, torch32)

    def of(step: int) -> tuple[Masks, Callable[[], Arrays]]:
        drawn: Arrays = {}

        def draw(key: str, layer: Layer, x: Any) -> np.ndarray:
            if key not in drawn:
                drawn[key] = factor_of(layer, x, key, engine.sides.seed, step)
            return drawn[key]

        def for_flax() -> Arrays:
            return {
                flax: to_flax(drawn[torch], shape, last_axis=False)
                for torch, (flax, shape) in paired.items()
                if torch in drawn
            }

        return draw, for_flax

    return of


def _drawing_partners(engine: Engine, torch32: Trace) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Flax's call and the shape of its output, by PyTorch's call that draws. Models that draw nothing are not run."""
    if not any(call.draws for call in torch32.calls):
        return {}
    sides = engine.sides
    observed = sides.run_flax("train", "float32")
    observed = with_draws(observed, sides.flax, sides.params, sides.state, sides.inputs, sides.seed)
    sites = align(torch32, observed, sides.plan.modules, sides.mapping)
    if random := pair_drawing(sites, torch32, observed):
        sites = align(torch32, observed, sides.plan.modules, {**random, **sides.mapping})
    return partners(torch32, observed, sites.sites)
