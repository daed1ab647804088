"""A trained model, loaded from its run folder: to evaluate, and to classify images with.

The data set itself is needed only to evaluate: classes, image size and normalisation are in `data.json`.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from flaxcnn import data
from flaxcnn.config import Config
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters, State
from flaxcnn.models.folding import folding
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.evaluate import evaluate, make_predict, probabilities
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import initial_state, load_splits, model_of, optimiser_of, pure


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Weights of a run with the function that uses them.

    Attributes:
        config: of the run.
        info: classes and image shape of the data set it was trained on.
        params, state: the weights (their moving average, if the run kept one).
        folded: parameters and state of the same network with its batch norms folded into the convolutions.
        predict: compiled `(*folded, images) -> logits`; images are uint8, or float in [0, 1].
        normalisation: mean and std of the training images, in units of [0, 1].
    """

    config: Config
    info: data.DatasetInfo
    params: Parameters
    state: State
    folded: tuple[Parameters, State]
    predict: Compiled
    normalisation: tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]

    def logits(self, images: UInt8[np.ndarray, "n h w c"]) -> Float[np.ndarray, "n k"]:
        """Logits of images of the model's size."""
        return np.asarray(self.predict(*self.folded, images))

    def evaluate(self, split: str = "test", *, batch_size: int | None = None) -> Evaluation:
        """Metrics of one split (`train`, `validation`, `test`); by default with the batch size of the training.

        Raises:
            DataError: the split is empty, or the data set is missing or another one than before.
            InvalidArgument: the batch size is not positive.
        """
        splits = load_splits(self.config)
        if (splits.info.num_classes, splits.info.image_shape) != (
            self.info.num_classes,
            self.info.image_shape,
        ):
            raise data.DataError(
                f"The data set {splits.info.name} has {splits.info.num_classes} classes and images of "
                f"{splits.info.image_shape}, but the model was trained on {self.info.num_classes} classes and "
                f"{self.info.image_shape}; give the data it was trained on."
            )
        source = getattr(splits, split)
        if source is None:
            raise data.DataError(
                f"The run has no {split} split, since its validation_fraction is 0; choose another split."
            )
        size = self.config.run.batch_size if batch_size is None else batch_size
        if size < 1:
            raise InvalidArgument(f"The batch size is {size}; expected at least 1.")
        return evaluate(self.predict, *self.folded, source, batch_size=size)

    def classify(self, paths: Sequence[str | Path], *, top: int = 3) -> list[dict[str, Any]]:
        """The most probable classes of image files, most probable first.

        Raises:
            DataError: a file is missing or no image.
        """
        images = np.stack([data.read_image(path, self.info.image_shape) for path in paths])
        answers = []
        for path, row in zip(paths, probabilities(self.logits(images)), strict=True):
            order = np.argsort(-row)[:top]
            classes = [{"class": self.info.class_names[k], "probability": float(row[k])} for k in order]
            answers.append({"image": str(path), "classes": classes})
        return answers


def load_run(
    path: str | Path, kind: str = "last", *, data_dir: str | None = None, data: str | None = None
) -> TrainedModel:
    """Load the weights of a run folder; batch norms are folded into convolutions here, once.

    Args:
        path: a folder that `flaxcnn train` wrote.
        kind: `last`, `best` (on validation), or `best-2` and so on where the run keeps several.
        data_dir: folder of the data set, if it has moved since.
        data: name or path of the data set, if that is another now.

    Raises:
        RunFolderError, CheckpointError: one sentence each.
    """
    folder = RunFolder.open(path)
    moved = {"data": data, "data_dir": data_dir}
    config = folder.config_with(**{name: value for name, value in moved.items() if value is not None})
    info, mean, std = folder.read_data()
    model = model_of(config, info)
    parts = pure(config, model)
    like = initial_state(config, parts, optimiser_of(config.optimiser, lambda step: step * 0.0))
    train_state, _ = Checkpoints(folder.path).restore(kind, like)
    params, state = train_state.evaluated
    copy, fold = folding(model)
    return TrainedModel(
        config=config,
        info=info,
        params=params,
        state=state,
        folded=fold(params, state),
        predict=make_predict(pure(config, copy).apply, mean, std, precision=config.run.precision),
        normalisation=(mean, std),
    )
