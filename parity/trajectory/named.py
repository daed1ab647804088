"""Builds optimisers and schedules by name for both sides: `torch.optim` and `flaxcnn.optim`."""

from collections.abc import Mapping
from typing import Any

from parity.errors import CannotCompare
from parity.trajectory.torch_side import TorchOptimiser

SCHEDULES = ("constant", "cosine", "linear", "one_cycle")
_TORCH = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}


def torch_optimiser(
    name: str, learning_rate: float, schedule: str, steps: int, options: Mapping[str, Any]
) -> TorchOptimiser:
    """PyTorch's optimiser and scheduler, to be built for given parameters.

    Args:
        name: sgd, adam, adamw or rmsprop.
        learning_rate: the largest rate of the schedule.
        schedule: one of `SCHEDULES`, over `steps` updates.
        steps: the number of updates of the run.
        options: keyword arguments of the optimiser, named as in `torch.optim` and `flaxcnn.optim` alike.

    Raises:
        CannotCompare: the name, the schedule or an option is unknown.
    """
    import torch

    if name not in _TORCH:
        kind = next((k for k in dir(torch.optim) if k.lower() == name.lower()), None)
        advice = "torch.optim has it; give both sides' with --torch-optimiser and --flax-optimiser"
        raise CannotCompare(
            f"flaxcnn.optim has no optimiser {name!r}: it has {', '.join(_TORCH)}"
            + (f". {advice}." if kind else ".")
        )
    if schedule not in SCHEDULES:
        raise CannotCompare(f"The schedule {schedule!r} is unknown; choose {', '.join(SCHEDULES)}.")
    kind = getattr(torch.optim, _TORCH[name])

    def build(parameters: list[Any]) -> tuple[Any, Any]:
        try:
            # The plain loop: the other implementations fuse additions, which round differently from the update rule.
            optimiser = kind(parameters, lr=learning_rate, foreach=False, **options)
        except (TypeError, ValueError) as error:
            raise CannotCompare(f"torch.optim.{_TORCH[name]} refuses {dict(options)}: {error}.") from None
        return optimiser, _scheduler(optimiser, schedule, learning_rate, steps)

    return build


def _scheduler(optimiser: Any, schedule: str, learning_rate: float, steps: int) -> Any:
    from torch.optim import lr_scheduler

    if schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimiser, steps)
    if schedule == "linear":
        return lr_scheduler.LinearLR(optimiser, start_factor=1.0, end_factor=0.0, total_iters=steps)
    if schedule == "one_cycle":
        # One more than there are updates: the scheduler is stepped after the last one too.
        return lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps + 1, cycle_momentum=False)
    return None


def flax_optimiser(
    name: str,
    learning_rate: float,
    schedule: str,
    steps: int,
    options: Mapping[str, Any],
    clip_norm: float | None,
) -> Any:
    """The same optimiser and schedule of `flaxcnn.optim`, an optax transformation; see `torch_optimiser`.

    Raises:
        CannotCompare: an option is unknown.
    """
    from flaxcnn import optim

    # PyTorch's AdamW decays by 1e-2 unless told otherwise.
    given = ({"weight_decay": 1e-2} if name == "adamw" else {}) | dict(options)
    total = steps + 1 if schedule == "one_cycle" else steps
    extra = {"start_factor": 1.0, "end_factor": 0.0} if schedule == "linear" else {}
    try:
        rate = optim.schedule(schedule, learning_rate, total, **extra)
        return optim.optimiser(name, rate, clip_norm=clip_norm, **given)
    except (TypeError, ValueError) as error:
        raise CannotCompare(f"flaxcnn.optim refuses {name} with {dict(options)}: {error}") from None
