"""Distillation as a step: a run learns from the labels and from the logits of another."""

import dataclasses

from jaxtyping import Array, Bool, Float

from flaxcnn import data, ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.train.phases import compiled_step
from flaxcnn.train.setup import Job
from flaxcnn.train.trained import TrainedModel


def taught(job: Job, teacher: TrainedModel, temperature: float, weight: float) -> Job:
    """The same training with the loss (1 - weight) cross-entropy + weight T^2 KL(teacher || student).

    The teacher sees the augmented images that the student sees, with its own normalisation, in evaluation.

    Args:
        job: a training.
        teacher: a trained network for the same classes and images.
        temperature: T, see `flaxcnn.ops.distillation`.
        weight: of the teacher, between 0 and 1.

    Raises:
        InvalidArgument: the teacher is for other classes or images.

    Reference: Hinton, Vinyals and Dean 2015, "Distilling the Knowledge in a Neural Network".
    """
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
    recipe, (mean, std) = job.recipe, teacher.normalisation

    def teaching(
        loss: Float[Array, ""],
        logits: Float[Array, "n k"],
        images: Float[Array, "n h w c"],
        mask: Bool[Array, " n"],
    ) -> Float[Array, ""]:
        shape = (1, 1, 1, -1)
        plain = images * recipe.std.reshape(shape) + recipe.mean.reshape(shape)
        says, _ = teacher.apply(*teacher.folded, data.normalise(plain, mean, std), train=False)
        soft = ops.distillation(logits, says, temperature=temperature, mask=mask)
        return (1 - weight) * loss + weight * soft

    with_teacher = dataclasses.replace(recipe, teaching=teaching)
    return dataclasses.replace(
        job, recipe=with_teacher, train_step=compiled_step(with_teacher, job.config.run.precision)
    )


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:57] + "..."
