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

# What is ours, not the schedule's own.
_OURS = ("schedule", "base_lr", "total_steps", "warmup_steps", "warmup_start_factor", "closed_form")


def torch_rates(options: Options, steps: int) -> np.ndarray:
    """The learning rate of each of `steps` updates of PyTorch, in float64, as the optimiser shows it.

    With the option `closed_form`, what the scheduler's own closed form says instead.
    """
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=options["base_lr"])
    closed_form, rates = options.get("closed_form", False), []
    with warnings.catch_warnings():
        # SequentialLR steps its schedulers through a path of its own that is deprecated.
        warnings.simplefilter("ignore")
        scheduler = torch_scheduler(optimiser, options)
        for step in range(steps):
            # Never stepped after the last update: OneCycleLR would refuse.
            if step > 0:
                optimiser.step()
                scheduler.step()
            shown = optimiser.param_groups[0]["lr"]
            rates.append(scheduler._get_closed_form_lr()[0] if closed_form else shown)
    return np.array(rates, np.float64)


def flax_rates(options: Options, steps: int, dtype: str) -> np.ndarray:
    """The learning rate of each of our `steps` updates, computed in `dtype`."""
    given = {name: value for name, value in options.items() if name != "closed_form"}
    arguments = [given.pop(name) for name in ("schedule", "base_lr", "total_steps")]
    with precision(dtype):
        rate = optim.schedule(*arguments, **given)
        return np.asarray(jax.jit(jax.vmap(rate))(jnp.arange(steps)))


def torch_scheduler(optimiser: Optimizer, options: Options) -> lr_scheduler.LRScheduler:
    """The scheduler of these options, with its warm-up in front."""
    own = {name: value for name, value in options.items() if name not in _OURS}
    base_lr, warm_up = options["base_lr"], options.get("warmup_steps", 0)
    main = _BUILDERS[options["schedule"]](optimiser, base_lr, options["total_steps"] - warm_up, own)
    if not warm_up:
        return main
    first = lr_scheduler.LinearLR(optimiser, options["warmup_start_factor"], 1.0, total_iters=warm_up)
    return lr_scheduler.SequentialLR(optimiser, [first, main], [warm_up])


def _one_cycle(optimiser: Optimizer, rate: float, total: int, own: Options) -> lr_scheduler.LRScheduler:
    shares = {name: value for name, value in own.items() if name != "anneal"}
    return lr_scheduler.OneCycleLR(
        optimiser, rate, total, anneal_strategy=own["anneal"], cycle_momentum=False, **shares
    )


_BUILDERS: dict[str, Callable[[Optimizer, float, int, Options], Any]] = {
    "constant": lambda optimiser, rate, total, own: lr_scheduler.ConstantLR(optimiser, 1.0, 1),
    "step": lambda optimiser, rate, total, own: lr_scheduler.StepLR(optimiser, **own),
    "multistep": lambda optimiser, rate, total, own: lr_scheduler.MultiStepLR(optimiser, **own),
    "exponential": lambda optimiser, rate, total, own: lr_scheduler.ExponentialLR(optimiser, **own),
    "linear": lambda optimiser, rate, total, own: lr_scheduler.LinearLR(optimiser, total_iters=total, **own),
    "cosine": lambda optimiser, rate, total, own: lr_scheduler.CosineAnnealingLR(optimiser, total, **own),
    "one_cycle": _one_cycle,
}
