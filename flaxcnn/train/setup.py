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
from flaxcnn.config import Config, ConfigError
from flaxcnn.functional import Functional, functional
from flaxcnn.models.resized import Architecture, resized
from flaxcnn.train import state as train_states
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.evaluate import make_predict
from flaxcnn.train.loading import Loaded, load_data
from flaxcnn.train.phases import Phase, phases_of
from flaxcnn.train.state import TrainState
from flaxcnn.train.step import Recipe
from flaxcnn.train.updates import optimiser_of, schedule_of
from flaxcnn.transfer.plan import plan_of, with_frozen_norms


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
        later: the phases after the first one, in which frozen parameters are thawed.
    """

    config: Config
    splits: data.Splits
    model: nnx.Module
    recipe: Recipe
    train_state: TrainState
    train_step: Compiled
    predict: Compiled
    steps_per_epoch: int
    later: tuple[Phase, ...] = ()

    @property
    def train_steps(self) -> tuple[Callable[..., Any], ...]:
        """The training step of each phase, `Compiled` or a wrapper of it."""
        return (self.train_step, *(phase.train_step for phase in self.later))

    def phase_at(self, epoch: int) -> int:
        """The number of the phase that an epoch belongs to, from 0."""
        return sum(phase.epoch <= epoch for phase in self.later)


# Puts trained weights into a new model, and what belongs to them into what is known of the data.
Start = Callable[[nnx.Module, Loaded], Loaded]


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


def set_up(
    config: Config,
    loaded: Loaded | None = None,
    *,
    start: Start | None = None,
    schedule: optim.Schedule | None = None,
    architecture: Architecture | None = None,
) -> Job:
    """Build a run from its configuration.

    Args:
        config: of the run.
        loaded: its data; loaded here if not given.
        start: gives the model other weights than those that it is initialised with.
        schedule: the learning rate of every step, instead of that of the configuration.
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
    if start is not None:
        loaded = start(model, loaded)
    parts = pure(config, model)
    check_crop(config, splits.info)
    schedule = schedule or schedule_of(config, steps_per_epoch)
    plan = plan_of(config, model, parts.params)
    recipe = Recipe(
        apply=parts.apply,
        optimiser=optimiser_of(config.optimiser, schedule, plan),
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
    first, *later = phases_of(
        plan,
        recipe,
        lambda frozen: pure(config, with_frozen_norms(model, frozen)).apply,
        config.run.precision,
    )
    return Job(
        config=config,
        splits=splits,
        model=model,
        recipe=first.recipe,
        train_state=initial_state(config, parts, recipe.optimiser, first.recipe.frozen),
        train_step=first.train_step,
        predict=make_predict(
            parts.apply,
            recipe.mean,
            recipe.std,
            precision=config.run.precision,
            crop_size=config.augment.crop_size,
        ),
        steps_per_epoch=steps_per_epoch,
        later=tuple(later),
    )


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


def initial_state(
    config: Config,
    parts: Functional,
    optimiser: optax.GradientTransformation,
    frozen: frozenset[str] = frozenset(),
) -> TrainState:
    """The train state before the first step."""
    return train_states.create(
        parts.params,
        parts.state,
        optimiser,
        seed=config.run.seed,
        use_ema=config.optimiser.ema_decay > 0,
        frozen=frozen,
    )
