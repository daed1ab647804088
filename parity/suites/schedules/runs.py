"""The learning rates of a case of the suite `schedules`, by `torch.optim.lr_scheduler` and by `flaxcnn.optim`."""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.optim import Optimizer, lr_scheduler

from flaxcnn import optim
from parity.capture.flax import precision
from parity.suites.options import Options

# Options of the suite, which are not arguments of the schedule.
_SUITE_OPTIONS = (
    "schedule",
    "base_lr",
    "total_steps",
    "warmup_steps",
    "warmup_start_factor",
    "closed_form",
    "interval",
    "directly",
)


def torch_rates(options: Options, steps: int) -> np.ndarray:
    """The learning rate of each of `steps` updates of PyTorch, in float64, as the optimiser shows it.

    With the option `closed_form`, the values of the scheduler's own closed form.
    """
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=options["base_lr"])
    closed_form, interval, rates = options.get("closed_form", False), options.get("interval", 1), []
    with warnings.catch_warnings():
        # SequentialLR steps its schedulers through a path of its own that is deprecated.
        warnings.simplefilter("ignore")
        scheduler = torch_scheduler(optimiser, options)
        for step in range(steps):
            # Never stepped after the last update: OneCycleLR would refuse.
            if step > 0:
                optimiser.step()
            if step > 0 and step % interval == 0:
                scheduler.step()
            shown = optimiser.param_groups[0]["lr"]
            rates.append(scheduler._get_closed_form_lr()[0] if closed_form else shown)
    return np.array(rates, np.float64)


def flax_rates(options: Options, steps: int, dtype: str) -> np.ndarray:
    """The learning rate of each of `steps` updates of flaxcnn, computed in `dtype`.

    With the option `interval`, the schedule moves on after so many updates. With `directly`, `with_warm_up` is called
    with its defaults, which `schedule` never does.
    """
    given = {name: value for name, value in options.items() if name not in ("closed_form", "directly")}
    interval, warm_up = given.pop("interval", None), given.get("warmup_steps", 0)
    name, base_lr, total = (given.pop(name) for name in ("schedule", "base_lr", "total_steps"))
    with precision(dtype):
        if options.get("directly"):
            del given["warmup_steps"]
            rate = optim.with_warm_up(optim.schedule(name, base_lr, total - warm_up, **given), warm_up)
        else:
            rate = optim.schedule(name, base_lr, total, **given)
        rate = rate if interval is None else optim.stepped_every(rate, interval)
        return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(steps)))


def torch_scheduler(optimiser: Optimizer, options: Options) -> lr_scheduler.LRScheduler:
    """The scheduler of these options, with its warm-up in front."""
    own = {name: value for name, value in options.items() if name not in _SUITE_OPTIONS}
    base_lr, warm_up = options["base_lr"], options.get("warmup_steps", 0)
    main = _BUILDERS[options["schedule"]](optimiser, base_lr, options["total_steps"] - warm_up, own)
    if not warm_up:
        return main
    # Without one PyTorch takes its default.
    start = {"start_factor": options["warmup_start_factor"]} if "warmup_start_factor" in options else {}
    first = lr_scheduler.LinearLR(optimiser, total_iters=warm_up, **start)
    return lr_scheduler.SequentialLR(optimiser, [first, main], [warm_up])


def _one_cycle(optimiser: Optimizer, rate: float, total: int, own: Options) -> lr_scheduler.LRScheduler:
    shares = {name: value for name, value in own.items() if name != "anneal"}
    return lr_scheduler.OneCycleLR(
        optimiser, rate, total, anneal_strategy=own.get("anneal", "cos"), cycle_momentum=False, **shares
    )


def _linear(optimiser: Optimizer, rate: float, total: int, own: Options) -> lr_scheduler.LRScheduler:
    # By default flaxcnn's falls from the rate to zero, and PyTorch's rises from a third of it.
    shares = {"start_factor": 1.0, "end_factor": 0.0} | own
    return lr_scheduler.LinearLR(optimiser, total_iters=total, **shares)


_BUILDERS: dict[str, Callable[[Optimizer, float, int, Options], Any]] = {
    "constant": lambda optimiser, rate, total, own: lr_scheduler.ConstantLR(optimiser, 1.0, 1),
    "step": lambda optimiser, rate, total, own: lr_scheduler.StepLR(optimiser, **own),
    "multistep": lambda optimiser, rate, total, own: lr_scheduler.MultiStepLR(optimiser, **own),
    "exponential": lambda optimiser, rate, total, own: lr_scheduler.ExponentialLR(optimiser, **own),
    "linear": _linear,
    "cosine": lambda optimiser, rate, total, own: lr_scheduler.CosineAnnealingLR(optimiser, total, **own),
    "one_cycle": _one_cycle,
}
