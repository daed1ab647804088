"""Learning-rate schedules by name: functions from an update's number, counted from 0, to a learning rate.

`schedule(t)` is the learning rate of update t: the value of a `torch.optim.lr_scheduler` that is stepped after
each update. The functions are pure, work under jit, and compute in JAX's default
floating-point type.
"""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from flaxcnn.errors import InvalidArgument
from flaxcnn.optim.validation import (
    Number,
    require_count,
    require_known_options,
    require_number,
    unknown_name,
)

Schedule = Callable


def constant(base_lr: Number, total_steps: int) -> Schedule:
    """A constant learning rate: lr(t) = base_lr."""
    del total_steps
    return lambda step: jnp.full((), base_lr, dtype=float)


def step_decay(base_lr: Number, total_steps: int, *, step_size: int, gamma: Number = 0.1) -> Schedule:
    """lr(t) = base_lr * gamma^floor(t / step_size). Reference: `StepLR`."""
    del total_steps
    require_count("step_size", step_size, 1)
    require_number("gamma", gamma, 0, above_low=True)
    return lambda step: base_lr * gamma ** (jnp.asarray(step) // step_size).astype(float)


def multistep_decay(
    base_lr: Number, total_steps: int, *, milestones: Sequence[int], gamma: Number = 0.1
) -> Schedule:
    """lr(t) = base_lr * gamma^(number of milestones <= t). Reference: `MultiStepLR`."""
    del total_steps
    require_number("gamma", gamma, 0, above_low=True)
    for milestone in milestones:
        require_count("each of milestones", milestone, 0)

    def learning_rate(step: Int[ArrayLike, ""]) -> Float[Array, ""]:
        now = jnp.asarray(step)
        passed = jnp.sum(jnp.asarray(tuple(milestones), dtype=now.dtype) <= now)
        return base_lr * gamma ** passed.astype(float)

    return learning_rate


def exponential_decay(base_lr: Number, total_steps: int, *, gamma: Number) -> Schedule:
    """lr(t) = base_lr * gamma^t. Reference: `ExponentialLR`."""
    del total_steps
    require_number("gamma", gamma, 0, above_low=True)
    return lambda step: base_lr * gamma ** jnp.asarray(step).astype(float)


def linear_decay(
    base_lr: Number, total_steps: int, *, start_factor: Number = 1.0, end_factor: Number = 0.0
) -> Schedule:
    """lr(t) = base_lr * (start + (end - start) * min(t, T) / T), T = total_steps. Reference: `LinearLR`."""
    require_number("start_factor", start_factor, 0, 1)
    require_number("end_factor", end_factor, 0, 1)

    def learning_rate(step: Int[ArrayLike, ""]) -> Float[Array, ""]:
        done = jnp.minimum(jnp.asarray(step).astype(float) / total_steps, 1.0)
        return base_lr * (start_factor + (end_factor - start_factor) * done)

    return learning_rate


def cosine_decay(base_lr: Number, total_steps: int, *, eta_min: Number = 0.0) -> Schedule:
    """lr(t) = eta_min + (base_lr - eta_min) * (1 + cos(pi t / T)) / 2, T = total_steps.

    As in PyTorch the minimum belongs to update T, one past the last of a run of T updates, and the rate rises
    again after it.

    Reference: Loshchilov & Hutter 2017, "SGDR"; `CosineAnnealingLR`.
    """
    require_number("eta_min", eta_min, 0)

    def learning_rate(step: Int[ArrayLike, ""]) -> Float[Array, ""]:
        done = jnp.asarray(step).astype(float) / total_steps
        return eta_min + (base_lr - eta_min) * (1 + jnp.cos(jnp.pi * done)) / 2

    return learning_rate


def one_cycle(
    base_lr: Number,
    total_steps: int,
    *,
    pct_start: Number = 0.3,
    anneal: str = "cos",
    div_factor: Number = 25.0,
    final_div_factor: Number = 1e4,
) -> Schedule:
    """Up from base_lr / div_factor to base_lr, then down to base_lr / div_factor / final_div_factor.

    The rise ends at update pct_start * T - 1 (seldom an integer), the fall at update T - 1, with
    T = total_steps. After that the last rate is kept, where PyTorch raises. With `done` the finished part of
    a phase, the rate is end + (start - end) * (1 + cos(pi done)) / 2, or start + (end - start) * done if anneal
    is "linear". Only the learning rate cycles: it equals PyTorch's with cycle_momentum=False.

    Reference: Smith & Topin 2018, "Super-convergence"; `OneCycleLR`.
    """
    require_number("pct_start", pct_start, 0, 1)
    require_number("div_factor", div_factor, 0, above_low=True)
    require_number("final_div_factor", final_div_factor, 0, above_low=True)
    if anneal not in ("cos", "linear"):
        raise unknown_name("annealing", anneal, ("cos", "linear"))
    initial, final = base_lr / div_factor, base_lr / div_factor / final_div_factor
    peak_step, last_step = pct_start * total_steps - 1, total_steps - 1

    def annealed(start: Number, end: Number, done: Float[Array, ""]) -> Float[Array, ""]:
        if anneal == "linear":
            return start + (end - start) * done
        return end + (start - end) / 2 * (1 + jnp.cos(jnp.pi * done))

    def part_done(step: Float[Array, ""], first: Number, last: Number) -> Float[Array, ""]:
        # A phase without length is done as soon as it begins.
        return jnp.ones(()) if last <= first else jnp.clip((step - first) / (last - first), 0.0, 1.0)

    def learning_rate(step: Int[ArrayLike, ""]) -> Float[Array, ""]:
        now = jnp.asarray(step).astype(float)
        rising = annealed(initial, base_lr, part_done(now, 0, peak_step))
        falling = annealed(base_lr, final, part_done(now, peak_step, last_step))
        return jnp.where(now <= peak_step, rising, falling)

    return learning_rate


def with_warm_up(inner: Schedule, steps: int, start_factor: Number = 1 / 3) -> Schedule:
    """A linear warm-up before any schedule.

    lr(t) = inner(0) * (start_factor + (1 - start_factor) * t / steps) for t < steps, then inner(t - steps).
    The inner schedule begins when the warm-up ends: its milestones and its length count from there. The
    warm-up rises to the first rate of the inner schedule, without a jump. PyTorch's warm-up rises to the
    optimiser's rate, which is the same except before a linear schedule with a start_factor below 1.

    Args:
        inner: the schedule that follows.
        steps: the number of updates of the warm-up, >= 0.
        start_factor: the first rate as a share of inner(0), in [0, 1]; PyTorch's default is 1/3.

    Raises:
        InvalidArgument: a number out of its range.

    Reference: Goyal et al. 2017, "Accurate, large minibatch SGD"; `SequentialLR([LinearLR(start_factor, 1.0,
    steps), inner], [steps])`.
    """
    require_count("warmup_steps", steps, 0)
    require_number("warmup_start_factor", start_factor, 0, 1)
    if steps == 0:
        return inner

    def learning_rate(step: Int[ArrayLike, ""]) -> Float[Array, ""]:
        now = jnp.asarray(step)
        factor = start_factor + (1 - start_factor) * now.astype(float) / steps
        # The inner schedule never gets a negative step, not even in the branch that is not selected.
        return jnp.where(now < steps, inner(0) * factor, inner(jnp.maximum(now - steps, 0)))

    return learning_rate


def stepped_every(inner: Schedule, interval: int) -> Schedule:
    """A schedule that advances once every `interval` updates: lr(t) = inner(floor(t / interval)).

    With the number of updates in an epoch as `interval`, it equals a PyTorch scheduler stepped once per epoch.

    Args:
        inner: the schedule, counted in intervals.
        interval: the number of updates with the same learning rate, >= 1.

    Raises:
        InvalidArgument: the interval is not an integer of at least 1.
    """
    require_count("interval", interval, 1)
    return lambda step: inner(jnp.asarray(step) // interval)


# The builder of each schedule, its required options, and its optional ones.
_SCHEDULES: dict[str, tuple[Callable, tuple[str, ...], tuple[str, ...]]] = {
    "constant": (constant, (), ()),
    "step": (step_decay, ("step_size",), ("gamma",)),
    "multistep": (multistep_decay, ("milestones",), ("gamma",)),
    "exponential": (exponential_decay, ("gamma",), ()),
    "linear": (linear_decay, (), ("start_factor", "end_factor")),
    "cosine": (cosine_decay, (), ("eta_min",)),
    "one_cycle": (one_cycle, (), ("pct_start", "anneal", "div_factor", "final_div_factor")),
}


def schedule_names() -> list[str]:
    """The names that `schedule` knows."""
    return list(_SCHEDULES)


def schedule_options(name: str) -> tuple[str, ...]:
    """The options that the schedule `name` uses, besides the warm-up that all of them take.

    Raises:
        InvalidArgument: no schedule has this name.
    """
    if name not in _SCHEDULES:
        raise unknown_name("schedule", name, _SCHEDULES)
    _, required, optional = _SCHEDULES[name]
    return required + optional


def schedule(
    name: str,
    base_lr: Number,
    total_steps: int,
    *,
    step_size: int | None = None,
    milestones: Sequence[int] | None = None,
    gamma: Number | None = None,
    eta_min: Number | None = None,
    start_factor: Number | None = None,
    end_factor: Number | None = None,
    pct_start: Number | None = None,
    anneal: str | None = None,
    div_factor: Number | None = None,
    final_div_factor: Number | None = None,
    warmup_steps: int = 0,
    warmup_start_factor: Number = 1 / 3,
) -> Schedule:
    """A learning-rate schedule with the values of PyTorch's scheduler of that name.

    lr(t) for update t = 0, 1, ..., total_steps - 1; `step_decay`, `cosine_decay` and so on state the
    formulas. A warm-up (see `with_warm_up`) takes the first `warmup_steps` updates, and the schedule the rest.

    Args:
        name: constant, step, multistep, exponential, linear, cosine or one_cycle.
        base_lr: the optimiser's learning rate; the peak of one_cycle.
        total_steps: the number of updates of the run, >= 1.
        step_size: step; updates between two decays (required).
        milestones: multistep; the updates at which the rate is decayed, counted after the warm-up (required).
        gamma: exponential (required), step and multistep (0.1); the factor of one decay.
        eta_min: cosine; the lowest rate (0).
        start_factor: linear; the first rate as a share of base_lr (1).
        end_factor: linear; the last rate as a share of base_lr (0).
        pct_start: one_cycle; the part of the run in which the rate rises (0.3).
        anneal: one_cycle; "cos" (the default) or "linear".
        div_factor: one_cycle; the peak over the first rate (25).
        final_div_factor: one_cycle; the first rate over the last (10,000).
        warmup_steps: the number of updates of the warm-up (0).
        warmup_start_factor: the warm-up's first rate as a share of the schedule's first rate.

    Returns:
        a function from an update's number (an int or an integer array) to its learning rate (a scalar array).

    Raises:
        InvalidArgument: an unknown name, a number out of its range, an option missing or not used by the schedule.

    Reference: https://docs.pytorch.org/docs/stable/optim.html#how-to-adjust-learning-rate
    """
    options = {
        "step_size": step_size,
        "milestones": milestones,
        "gamma": gamma,
        "eta_min": eta_min,
        "start_factor": start_factor,
        "end_factor": end_factor,
        "pct_start": pct_start,
        "anneal": anneal,
        "div_factor": div_factor,
        "final_div_factor": final_div_factor,
    }
    given = {option: value for option, value in options.items() if value is not None}
    require_known_options("schedule", name, given, schedule_options(name))
    builder, required, _ = _SCHEDULES[name]
    for option in required:
        if option not in given:
            raise InvalidArgument(f"The schedule {name} needs the option {option}: give it a value.")
    require_number("base_lr", base_lr, 0)
    require_count("total_steps", total_steps, 1)
    require_count("warmup_steps", warmup_steps, 0)
    if warmup_steps >= total_steps:
        raise InvalidArgument(
            f"warmup_steps is {warmup_steps}, but it must be below total_steps, which is {total_steps}."
        )
    return with_warm_up(
        builder(base_lr, total_steps - warmup_steps, **given), warmup_steps, warmup_start_factor
    )
