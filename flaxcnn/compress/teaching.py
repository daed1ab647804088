"""Distillation as a step: a run learns from the labels and from the logits of another."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from flaxcnn import data, ops
from flaxcnn.compress.hints import hint_loss, projections, watching, without
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters, State
from flaxcnn.train import state as train_states
from flaxcnn.train.evaluate import make_predict
from flaxcnn.train.phases import compiled_step
from flaxcnn.train.setup import Job, model_of
from flaxcnn.train.state import TrainState
from flaxcnn.train.trained import TrainedModel
from flaxcnn.transfer.plan import with_frozen_norms


def taught(
    job: Job,
    teacher: TrainedModel,
    temperature: float,
    weight: float,
    hints: Mapping[str, str] | None = None,
    hint_weight: float = 1.0,
) -> Job:
    """The same training with the loss (1 - weight) cross-entropy + weight T^2 KL(teacher || student) + hints.

    The teacher sees the augmented images that the student sees, with its own normalisation, in evaluation.

    Args:
        job: a training.
        teacher: a trained network for the same classes and images.
        temperature: T, see `flaxcnn.ops.distillation`.
        weight: of the teacher's logits, between 0 and 1.
        hints: for each layer of the student that is to be like one of the teacher, that one; see
            `flaxcnn.compress.hints`. The train state has the projections too.
        hint_weight: by which the hints are multiplied.

    Raises:
        InvalidArgument: the teacher is for other classes or images, or a layer does not exist or fit.

    Reference: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
    """
    _require_same_data(job, teacher)
    recipe, (mean, std), pairs = job.recipe, teacher.normalisation, hints or {}
    apply, arrays = teacher.apply, teacher.folded
    if pairs:
        model = model_of(teacher.config, teacher.info, teacher.architecture)
        # Not the folded network, in which a convolution gives what the norm after it gave.
        apply = watching(teacher.config, model, set(pairs.values()), "teacher")
        arrays = teacher.params, teacher.state
        job = _with_hints(job, partial(apply, *arrays, train=False), pairs)

    def teaching(
        loss: Float[Array, ""],
        logits: Float[Array, "n k"],
        state: State,
        params: Parameters,
        images: Float[Array, "n h w c"],
        mask: Bool[Array, " n"],
    ) -> tuple[Float[Array, ""], State]:
        shape = (1, 1, 1, -1)
        plain = images * recipe.std.reshape(shape) + recipe.mean.reshape(shape)
        says, shows = apply(*arrays, data.normalise(plain, mean, std), train=False)
        soft = ops.distillation(logits, says, temperature=temperature, mask=mask)
        loss = (1 - weight) * loss + weight * soft
        if pairs:
            loss = loss + hint_weight * hint_loss(state, shows, pairs, params, mask)
        return loss, without(state)

    with_teacher = dataclasses.replace(job.recipe, teaching=teaching)
    return dataclasses.replace(
        job, recipe=with_teacher, train_step=compiled_step(with_teacher, job.config.run.precision)
    )


def _with_hints(job: Job, teacher: Callable[..., Any], pairs: Mapping[str, str]) -> Job:
    """The job of a student whose layers are watched, with projections among its parameters."""
    config, recipe, before = job.config, job.recipe, job.train_state
    apply = watching(config, with_frozen_norms(job.model, recipe.frozen), pairs, "student")
    crop, (height, width, channels) = config.augment.crop_size, job.splits.info.image_shape
    size = (height, width) if crop is None else (crop, crop)
    images = jax.ShapeDtypeStruct((2, *size, channels), jnp.float32)
    student = partial(apply, before.params, before.state, train=False)
    shapes = [jax.eval_shape(lambda x, side=side: side(x)[1], images) for side in (student, teacher)]
    params = before.params | projections(*shapes, pairs, config.run.seed)
    train_state = train_states.create(
        params,
        before.state,
        recipe.optimiser,
        seed=config.run.seed,
        use_ema=before.ema is not None,
        frozen=recipe.frozen,
    )

    def plain(params: Parameters, state: State, x: Float[Array, "n h w c"], **options: Any) -> Any:
        logits, found = apply(params, state, x, **options)
        return logits, without(found)

    predict = make_predict(plain, recipe.mean, recipe.std, precision=config.run.precision, crop_size=crop)
    return dataclasses.replace(
        job, recipe=dataclasses.replace(recipe, apply=apply), train_state=train_state, predict=predict
    )


def untaught(train_state: TrainState) -> TrainState:
    """A train state without the projections, in the optimiser and the average too."""
    return jax.tree.map(
        lambda part: without(part) if isinstance(part, dict) else part,
        train_state,
        is_leaf=lambda part: isinstance(part, dict),
    )


def _require_same_data(job: Job, teacher: TrainedModel) -> None:
    for what, given, wanted in (
        ("classes", teacher.info.class_names, job.splits.info.class_names),
        ("images", teacher.info.image_shape, job.splits.info.image_shape),
        ("crop_size", teacher.config.augment.crop_size, job.config.augment.crop_size),
    ):
        if given != wanted:
            raise InvalidArgument(
                f"The teacher was trained on other data: its {what} are {_shown(given)}, the run's {_shown(wanted)}; "
                "give a teacher of the same data."
            )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
