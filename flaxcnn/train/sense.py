"""Settings of a new run that are possible and yet make no sense: refused, or remarked upon in one line.

A run of before is resumed and evaluated with whatever it was started with.
"""

import math
from typing import Any

from flaxcnn import optim
from flaxcnn.config import Config, ConfigError
from flaxcnn.data import DatasetInfo

# The settings of a schedule and the schedules that use them.
OF_SCHEDULES = {
    "step_epochs": ("step",),
    "milestone_epochs": ("multistep",),
    "gamma": ("step", "multistep", "exponential"),
    "one_cycle_warmup": ("one_cycle",),
}
# A rate of sgd: it throws the weights of an optimiser that divides by the root of the mean square far away.
_LARGE_FOR_ADAPTIVE = 0.05


def check(config: Config) -> None:
    """Raise on settings with which nothing can be learnt, and on those that nothing would use.

    Raises:
        ConfigError: one sentence about the first of them.
    """
    for name, why in (
        ("label_smoothing", "every label would be spread evenly over all classes"),
        ("ema_decay", "the average would never leave the initial weights"),
    ):
        if config.get(name) == 1.0:
            raise ConfigError(f"{name} is 1, so that {why}; expected a number below 1.")
    for name in ("brightness", "contrast", "saturation"):
        if config.get(name) > 1.0:
            raise ConfigError(
                f"{name} is {config.get(name):g}; expected a number from 0 to 1, where 1 draws factors from 0 to 2."
            )
    _check_schedule(config)
    _check_betas(config)
    _check_transfer(config)


def _check_schedule(config: Config) -> None:
    settings = config.optimiser
    optim.schedule_options(settings.schedule)  # raises if there is no such schedule
    for name, used_by in OF_SCHEDULES.items():
        if settings.schedule not in used_by and config.get(name) != Config().get(name):
            raise ConfigError(
                f"{name} was set to {_shown(config.get(name))}, which the schedule {settings.schedule} does not use; "
                f"leave it out or choose the schedule {' or '.join(used_by)}."
            )
    if not (math.isfinite(settings.step_epochs) and settings.step_epochs > 0):
        raise ConfigError(f"step_epochs is {settings.step_epochs:g}; expected a number above 0.")
    epochs = settings.milestone_epochs
    if not all(math.isfinite(epoch) and epoch > 0 for epoch in epochs) or epochs != sorted(set(epochs)):
        raise ConfigError(
            f"milestone_epochs is {_shown(epochs)}; expected epochs above 0, each later than the one before."
        )


def _check_betas(config: Config) -> None:
    settings = config.optimiser
    if "betas" in optim.optimiser_options(settings.optimiser):
        return
    for name in ("beta1", "beta2"):
        if config.get(name) != Config().get(name):
            raise ConfigError(
                f"{name} was set to {config.get(name):g}, which {settings.optimiser} does not use; "
                "leave it out or choose adam or adamw."
            )


def _check_transfer(config: Config) -> None:
    if config.transfer.start is not None:
        return
    for name in ("start_checkpoint", "stem_channels", "mean", "std"):
        value = config.get(name)
        if value != Config().get(name):
            raise ConfigError(
                f"{name} was set to {value if isinstance(value, str) else _shown(value)}, which only a run uses that "
                "starts from trained weights; leave it out or name them by --start."
            )


def _shown(value: Any) -> str:
    return " ".join(f"{item:g}" for item in value) if isinstance(value, list) else f"{value:g}"


def check_images(config: Config, info: DatasetInfo) -> None:
    """Raise where an augmentation would leave nothing of an image.

    Raises:
        ConfigError: one sentence about the first of them.
    """
    height, width, _ = info.image_shape
    if config.augment.cutout > min(height, width):
        raise ConfigError(
            f"cutout is {config.augment.cutout}, but the images have {height}x{width} pixels; expected a square that "
            "is smaller."
        )
    if config.augment.crop_padding >= min(height, width):
        raise ConfigError(
            f"crop_padding is {config.augment.crop_padding}, but the images have {height}x{width} pixels: a crop could "
            "hold nothing but padding; expected less."
        )


def remarks(config: Config) -> list[str]:
    """What works and is probably not meant, a sentence each."""
    config = config.resolved()
    settings, found = config.optimiser, []
    if settings.optimiser != "sgd" and settings.learning_rate >= _LARGE_FOR_ADAPTIVE:
        found.append(
            f"The learning rate {settings.learning_rate:g} is one for sgd; {settings.optimiser} usually diverges with "
            "it and takes 0.001 where none is given."
        )
    late = [epoch for epoch in settings.milestone_epochs if epoch >= config.run.epochs]
    if settings.schedule == "multistep" and late:
        found.append(f"The run of {config.run.epochs} epochs ends before the milestones {_shown(late)}.")
    return found
