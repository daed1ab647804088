"""From a configuration to everything a run needs: data, model, optimiser, first train state."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jaxtyping import Array, Float

from flaxcnn import data, models, ops, optim
from flaxcnn.config import Config, ConfigError, OptimiserConfig
from flaxcnn.functional import Functional, functional
from flaxcnn.models.resized import Architecture, resized
from flaxcnn.ops.cpu.choice import RULES
from flaxcnn.train import state as train_states
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.evaluate import make_predict
from flaxcnn.train.loading import Loaded, load_data
from flaxcnn.train.state import TrainState
from flaxcnn.train.step import Recipe, make_train_step


@dataclasses.dataclass(frozen=True)
class Job:
    """A run, ready to go.

    Attributes:
        config: what it was made from.
        splits: training, validation (or `None`) and test images.
        model: the NNX module as it was initialised.
        recipe: what the training step needs.
        train_state: before the first step.
        train_step, predict: compiled on their first call, each once.
        steps_per_epoch: batches of the training split, the short last one included.
    """

    config: Config
    splits: data.Splits
    model: nnx.Module
    recipe: Recipe
    train_state: TrainState
    train_step: Compiled
    predict: Compiled
    steps_per_epoch: int


def model_of(config: Config, info: data.DatasetInfo, architecture: Architecture | None = None) -> nnx.Module:
    """The model of a run, freshly initialised, for images and classes as `info` describes them.

    With the `architecture` of a compressed run it has smaller layers.
    """
    options = dict(config.model.model_options)
    size = options.get("image_size")
    taken = {**_DECIDED_ELSEWHERE, **({} if _same_size(size, info.image_shape) else _SIZE_DECIDED_ELSEWHERE)}
    for name in options.keys() & taken.keys():
        raise ConfigError(f"{name} was given as an option of the model, but {taken[name]}; leave it out.")
    if config.model.model == "cnn":
        size = config.augment.crop_size
        options.setdefault("image_size", info.image_shape[:2] if size is None else (size, size))
    options = {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
    model = models.create(
        config.model.model,
        seed=config.run.seed,
        num_classes=info.num_classes,
        in_channels=info.image_shape[2],
        **options,
    )
    return model if architecture is None else resized(model, architecture)


# What the data or another setting says of a model.
_DECIDED_ELSEWHERE = {
    "num_classes": "the data set decides the number of classes",
    "in_channels": "the images decide the number of channels",
    "seed": "the run's --seed is that of the weights",
    "rngs": "the run's --seed is that of the weights",
    "name": "--model names it",
}
_SIZE_DECIDED_ELSEWHERE = {"image_size": "the images decide the size, and --image-size resizes them"}


def _same_size(size: Any, image_shape: tuple[int, int, int]) -> bool:
    """Whether the size that was given as an option, if any, is that of the images."""
    return size is None or size == image_shape[0] == image_shape[1] or list(image_shape[:2]) == size


def pure(config: Config, model: nnx.Module) -> Functional:
    """The model of a run as a pure function, in the run's compute dtype, by the rules that the run allows."""
    parts = functional(model, compute_dtype=jnp.bfloat16 if config.run.precision == "bfloat16" else None)
    if config.run.fast_rules:
        return parts

    def apply(*arguments: Any, **options: Any) -> Any:
        with ops.fast_rules():
            return parts.apply(*arguments, **options)

    return parts._replace(apply=apply)


def set_up(config: Config, loaded: Loaded | None = None, architecture: Architecture | None = None) -> Job:
    """Build a run from its configuration.

    Args:
        config: of the run.
        loaded: its data; loaded here if not given.
        architecture: of a compressed run, whose layers are smaller than those of the registry.

    Raises:
        ConfigError, DataError, InvalidArgument: a setting, name or file that cannot be used, in one sentence.
    """
    config = config.resolved()
    if config.run.early_stopping and not config.data.validation_fraction:
        raise ConfigError(
            f"early_stopping is {config.run.early_stopping}, but validation_fraction is 0, so that nothing is "
            "validated; leave one of them out."
        )
    if config.run.batch_size % config.optimiser.accumulate:
        raise ConfigError(
            f"accumulate is {config.optimiser.accumulate}, which does not divide the batch size "
            f"{config.run.batch_size}; choose a divisor of it."
        )
    loaded = loaded or load_data(config)
    splits = loaded.splits
    steps_per_epoch = data.number_of_batches(splits.train, config.run.batch_size)
    model = model_of(config, splits.info, architecture)
    parts = pure(config, model)
    check_crop(config, splits.info)
    schedule = schedule_of(config, steps_per_epoch)
    recipe = Recipe(
        apply=parts.apply,
        optimiser=optimiser_of(config.optimiser, schedule),
        schedule=schedule,
        num_classes=splits.info.num_classes,
        mean=jnp.asarray(loaded.mean),
        std=jnp.asarray(np.maximum(loaded.std, 1e-6)),
        augment=config.augment,
        loss=config.loss,
        class_weights=class_weights_of(config, splits),
        ema_decay=config.optimiser.ema_decay,
        accumulate=config.optimiser.accumulate,
    )
    return Job(
        config=config,
        splits=splits,
        model=model,
        recipe=recipe,
        train_state=initial_state(config, parts, recipe.optimiser),
        train_step=compiled_step(recipe, config),
        predict=make_predict(
            parts.apply,
            recipe.mean,
            recipe.std,
            precision=config.run.precision,
            crop_size=config.augment.crop_size,
        ),
        steps_per_epoch=steps_per_epoch,
    )


def compiled_step(recipe: Recipe, config: Config) -> Compiled:
    """The training step of a run, compiled on its first call."""
    return Compiled(make_train_step(recipe), donate=(0,), rules=RULES, precision=config.run.precision)


def check_crop(config: Config, info: data.DatasetInfo) -> None:
    """Raise a ConfigError on a crop that is larger than the images."""
    size, (height, width, _) = config.augment.crop_size, info.image_shape
    if size is not None and size > min(height, width):
        raise ConfigError(
            f"crop_size is {size}, but the images have {height} x {width} pixels; choose a smaller crop_size, or a "
            "larger image_size."
        )


def class_weights_of(config: Config, splits: data.Splits) -> Float[Array, " k"] | None:
    """The weight of each class in the loss, or None where all are alike.

    `balanced` weighs class k with n / (K n_k): n training images, K classes, n_k images of class k.

    Raises:
        ConfigError: there are not as many weights as classes, or a class to be balanced has no training image.

    Reference: sklearn.utils.class_weight.compute_class_weight.
    """
    given, info = config.loss.class_weights, splits.info
    if given is None:
        return None
    if given == "balanced":
        counts = np.bincount(data.all_labels(splits.train), minlength=info.num_classes)
        if not counts.all():
            name = info.class_names[int(np.argmin(counts))]
            raise ConfigError(
                f"class_weights is balanced, but no training image is of the class {name}; give weights as numbers."
            )
        return jnp.asarray(len(splits.train) / (info.num_classes * counts), jnp.float32)
    if len(given) != info.num_classes:
        raise ConfigError(
            f"class_weights holds {len(given)} numbers, but the data set has {info.num_classes} classes; give one "
            "for each, in their order."
        )
    return jnp.asarray(given, jnp.float32)


def initial_state(config: Config, parts: Functional, optimiser: optax.GradientTransformation) -> TrainState:
    """The train state before the first step."""
    return train_states.create(
        parts.params,
        parts.state,
        optimiser,
        seed=config.run.seed,
        use_ema=config.optimiser.ema_decay > 0,
    )


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
_OPTIONS = {
    "momentum": "momentum",
    "nesterov": "nesterov",
    "dampening": "dampening",
    "epsilon": "eps",
    "alpha": "alpha",
}


def optimiser_of(settings: OptimiserConfig, schedule: Callable[..., Any]) -> optax.GradientTransformation:
    """The optimiser of a run, which follows `schedule`."""
    settings = Config(optimiser=settings).resolved().optimiser
    used = optim.optimiser_options(settings.optimiser)
    defaults = OptimiserConfig()
    options: dict[str, Any] = {}
    for setting, option in _OPTIONS.items():
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
        **options,
    )
    return optim.keeping_zeros(made) if settings.keep_zeros else made
