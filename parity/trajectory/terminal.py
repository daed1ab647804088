"""Prints two training runs: the verdict, the first divergence and its cause, the growth of the difference."""

import math

from parity.trajectory.record import Step, Trajectory
from parity.verdict.policy import Policy

_ROWS = 12


def text(trajectory: Trajectory) -> str:
    """The report as plain text."""
    lines = [trajectory.summary()]
    for cause in trajectory.causes:
        lines += [
            f"  {cause.id} at {cause.layer}:",
            f"    PyTorch  {cause.torch}",
            f"    Flax     {cause.flax}",
        ]
        lines += [f"    fix      {cause.fix}"]
    lines += [f"  {note.kind} {note.layer}: {note.message}".replace(" :", ":") for note in trajectory.notes]
    lines += [
        "",
        "  step  learning rate    loss PyTorch   loss Flax   apart float32  apart float64  of allowed",
    ]
    policy = Policy.of(trajectory.policy)
    lines += [_row(step, policy) for step in _shown(trajectory)]
    lines += ["", *_growth(trajectory)]
    return "\n".join(lines)


def _shown(trajectory: Trajectory) -> list[Step]:
    """The first and the last step, some between, and the one that diverges."""
    count = len(trajectory.steps)
    chosen = (
        {round(i * (count - 1) / (_ROWS - 1)) for i in range(_ROWS)} if count > _ROWS else set(range(count))
    )
    if trajectory.divergence is not None:
        chosen.add(trajectory.divergence.step)
    return [trajectory.steps[i] for i in sorted(chosen)]


def _row(step: Step, policy: Policy) -> str:
    ratio = max((tensor.difference.ratio(policy) for tensor in step.worst), default=0.0)
    return (
        f"  {step.number:4}  {step.learning_rate:13.6g}  {step.loss.torch32:14.6f}  {step.loss.flax32:10.6f}  "
        f"{step.distance32:13.1e}  {step.distance64:13.1e}  {ratio:10.2g}"
    )


def _growth(trajectory: Trajectory) -> list[str]:
    lines = []
    for name, growth in (("float32", trajectory.growth32), ("float64", trajectory.growth64)):
        if math.isfinite(growth.rate):
            factor = math.exp(growth.rate)
            lines.append(
                f"  {name}: the difference grows by {factor:.3f} a step (fit over {growth.steps} steps)"
            )
    divergence = trajectory.parted32
    end = (
        "the float32 losses never differ by 1 %"
        if divergence is None
        else f"the float32 losses differ by 1 % at step {divergence}"
    )
    return [*lines, f"  {end}"]
