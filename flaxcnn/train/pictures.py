"""The pictures of a finished run: curves, confusion matrix, wrong images, filters, feature maps."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from flaxcnn import plots
from flaxcnn.functional import bind
from flaxcnn.train.evaluate import logits_of, probabilities
from flaxcnn.train.loop import Trainer
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.step import prepared


def draw(trainer: Trainer, test: Evaluation, history: list[dict[str, Any]]) -> None:
    """Write all pictures into the run folder as PNG files.

    Args:
        trainer: of the finished run; its final weights are shown.
        test: metrics on the test split.
        history: one record an epoch, as in `metrics.jsonl`.
    """
    folder, job = trainer.folder.path, trainer.job
    info, source = job.splits.info, job.splits.test
    params, state = trainer.train_state.evaluated
    plots.learning_curves(history, folder / "learning_curves.png")
    plots.confusion_matrix(test.confusion, info.class_names, folder / "confusion_matrix.png")

    size = trainer.evaluation_batch_size
    found = [
        (logits[batch["mask"]], batch["label"][batch["mask"]])
        for logits, batch in logits_of(job.predict, params, state, source, size)
    ]
    chances = probabilities(np.concatenate([logits for logits, _ in found]))
    labels = np.concatenate([label for _, label in found])
    predictions = chances.argmax(axis=1)
    # Only the images that will be shown are read again.
    wrong = np.flatnonzero(predictions != labels)
    total = len(wrong)
    wrong = wrong[np.argsort(-chances[wrong, predictions[wrong]], kind="stable")][:24]
    images = source.gather(wrong)[0] if len(wrong) else np.zeros((0, *info.image_shape), np.uint8)
    plots.most_confidently_wrong(
        images,
        labels[wrong],
        predictions[wrong],
        chances[wrong],
        info.class_names,
        folder / "most_confidently_wrong.png",
        total=total,
    )

    kernel = params.get("conv1.weight")
    if kernel is not None:
        plots.first_layer_filters(np.asarray(kernel), folder / "first_layer_filters.png")
    image = source.gather(np.zeros(1, np.int64))[0]
    x = prepared(jnp.asarray(image), job.recipe, None)
    maps = [("input", np.asarray(x[0]))]
    maps += [(name, np.asarray(value[0])) for name, value in bind(job.model, params, state).features(x)]
    plots.feature_maps(maps, folder / "feature_maps.png")
