"""From a configuration to what a run updates its weights by: the schedule of the rate, and the optimiser."""

from collections.abc import Callable
from typing import Any

import optax

from flaxcnn import optim
from flaxcnn.config import Config, ConfigError, OptimiserConfig
from flaxcnn.transfer.plan import Plan


def schedule_of(config: Config, steps_per_epoch: int) -> optim.Schedule:
    """The learning rate of every step of a run; epochs in the configuration become steps."""
    settings = config.resolved().optimiser
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    total = config.run.epochs * steps_per_epoch
    if warmup >= total:
        raise ConfigError(
            f"warmup_epochs is {settings.warmup_epochs:g} but the run has only {config.run.epochs} epochs; "
            "choose fewer."
        )
    options: dict[str, dict[str, Any]] = {
        "step": {"step_size": max(1, round(settings.step_epochs * steps_per_epoch)), "gamma": settings.gamma},
        "multistep": {
            # Epochs count from the start of the run, the schedule's milestones from the end of the warm-up.
            "milestones": [max(0, round(e * steps_per_epoch) - warmup) for e in settings.milestone_epochs],
            "gamma": settings.gamma,
        },
        "exponential": {"gamma": settings.gamma ** (1.0 / steps_per_epoch)},
        "one_cycle": {"pct_start": settings.one_cycle_warmup},
    }
    return optim.schedule(
        settings.schedule,
        settings.learning_rate,
        total,
        warmup_steps=warmup,
        **options.get(settings.schedule, {}),
    )


# Settings that only some optimisers use: our name, and the name of the option of `optim.optimiser`.
OPTIONS = {
    "momentum": "momentum",
    "nesterov": "nesterov",
    "dampening": "dampening",
    "epsilon": "eps",
    "alpha": "alpha",
}


def optimiser_of(
    settings: OptimiserConfig, schedule: Callable[..., Any], plan: Plan | None = None
) -> optax.GradientTransformation:
    """The optimiser of a run, which follows `schedule`, with the groups of parameters of `plan`."""
    settings = Config(optimiser=settings).resolved().optimiser
    used = optim.optimiser_options(settings.optimiser)
    defaults = OptimiserConfig()
    options: dict[str, Any] = {}
    for setting, option in OPTIONS.items():
        if option in used:
            options[option] = getattr(settings, setting)
        elif getattr(settings, setting) != getattr(defaults, setting):
            raise ConfigError(
                f"{setting} was set to {getattr(settings, setting)}, which {settings.optimiser} does not use; "
                "leave it out or choose another optimiser."
            )
    if "betas" in used:
        options["betas"] = (settings.beta1, settings.beta2)
    if not options.get("momentum", 1.0):
        options.pop("nesterov", None)
    made = optim.optimiser(
        settings.optimiser,
        schedule,
        weight_decay=settings.weight_decay,
        decay_mask=None if settings.decay_norm_and_bias else optim.no_decay_on_norm_and_bias,
        clip_norm=settings.clip_norm,
        clip_value=settings.clip_value,
        factors=plan and plan.factors,
        groups=plan and plan.groups,
        **options,
    )
    return optim.keeping_zeros(made) if settings.keep_zeros else made
