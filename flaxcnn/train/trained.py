"""A trained model, loaded from its run folder: to evaluate, and to classify images with.

The data set itself is needed only to evaluate: classes, image size and normalisation are in `data.json`.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx
from jaxtyping import Float, Int32, UInt8

from flaxcnn import data
from flaxcnn.config import Config
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import Parameters, State, bind
from flaxcnn.models.folding import folding
from flaxcnn.models.resized import Architecture
from flaxcnn.train.checkpoint import Checkpoints
from flaxcnn.train.classify import Answer, classify_files
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.evaluate import evaluate, make_predict, probabilities
from flaxcnn.train.loading import load_again
from flaxcnn.train.metrics import Evaluation
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import initial_state, model_of, pure
from flaxcnn.train.updates import optimiser_of
from flaxcnn.transfer.plan import plan_of


@dataclasses.dataclass(frozen=True)
class TrainedModel:
    """Weights of a run with the function that uses them.

    Attributes:
        config: of the run.
        info: classes and image shape of the data set it was trained on.
        params, state: the weights (their moving average, if the run kept one).
        folded: parameters and state of the same network with its batch norms folded into the convolutions.
        apply: the pure function of `folded`, for normalised images.
        predict: compiled `(*folded, images) -> logits`; images are uint8, or float in [0, 1].
        normalisation: mean and std of the training images, in units of [0, 1].
        remembered: what the run folder says of the training data.
        architecture: its shapes, where they are not those of the registry.
    """

    config: Config
    info: data.DatasetInfo
    params: Parameters
    state: State
    folded: tuple[Parameters, State]
    apply: Callable[..., Any]
    predict: Compiled
    normalisation: tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]
    remembered: data.Remembered
    architecture: Architecture | None = None

    def module(self) -> nnx.Module:
        """The network as an NNX module with these weights, its batch norms not folded."""
        return bind(model_of(self.config, self.info, self.architecture), self.params, self.state)

    def logits(
        self, images: UInt8[np.ndarray, "n h w c"] | Float[np.ndarray, "n h w c"]
    ) -> Float[np.ndarray, "n k"]:
        """Logits of images of the model's size."""
        return np.asarray(self.predict(*self.folded, images))

    def evaluate(
        self,
        split: str = "test",
        *,
        batch_size: int | None = None,
        data_changed: bool = False,
        tell: Callable[[str], object] = str,
        each: Callable[[str, int, Float[np.ndarray, " k"]], Any] | None = None,
    ) -> Evaluation:
        """Metrics of one split (`train`, `validation`, `test`); by default with the batch size of the training.

        Images keep the split that they had in the training; `data_changed` allows others among them, and `tell` is
        given what changed. `each` is called for every image of the split, in order, with the path of its file (or its
        position in the data set, where it has none), its label, and the probability of each class.

        Raises:
            DataError: the split is empty, or the data set is missing or another one than before.
            InvalidArgument: the batch size is not positive.
        """
        loaded = load_again(self.config, self.remembered, data_changed=data_changed)
        splits = loaded.splits
        for note in loaded.notes if loaded.changed else ():
            tell(note)
        source = getattr(splits, split)
        if source is None:
            raise data.DataError(
                f"The run has no {split} split, since its validation_fraction is 0; choose another split."
            )
        size = self.config.run.batch_size if batch_size is None else batch_size
        if size < 1:
            raise InvalidArgument(f"The batch size is {size}; expected at least 1.")
        positions = itertools.count()

        def on_batch(logits: Float[np.ndarray, "n k"], labels: Int32[np.ndarray, " n"]) -> None:
            for label, row in zip(labels, probabilities(logits), strict=True):
                each(data.origin(source, next(positions)), int(label), row)

        on_batch_or_none = None if each is None else on_batch
        return evaluate(self.predict, *self.folded, source, batch_size=size, each=on_batch_or_none)

    def classify(
        self,
        paths: Sequence[str | Path],
        *,
        batch_size: int = 64,
        errors: Literal["raise", "yield"] = "raise",
    ) -> Iterator[Answer]:
        """What the model says of image files, one answer a path, in their order; computed while they are asked for.

        Args:
            paths: of image files; `flaxcnn.data.find_images` finds those in folders.
            batch_size: images computed at once; no more than three times as many are in memory.
            errors: what to do with a file that is no sound image: `raise`, or `yield` an answer with its `error`.

        Raises:
            DataError: a file is missing or no image, with `errors="raise"`.
            InvalidArgument: the batch size is not positive.
        """
        if batch_size < 1:
            raise InvalidArgument(f"The batch size is {batch_size}; expected at least 1.")
        answers = classify_files(
            paths, self.logits, self.info, batch_size=batch_size, workers=self.config.data.workers
        )
        # A separate generator, so that the check above runs now and not at the first answer.
        return _sound(answers) if errors == "raise" else answers


def _sound(answers: Iterator[Answer]) -> Iterator[Answer]:
    """The answers; raise at the first that is none."""
    for answer in answers:
        if answer.error is not None:
            raise data.DataError(answer.error)
        yield answer


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
    remembered = folder.remembered()
    info, mean, std = remembered.info, remembered.mean, remembered.std
    architecture = Architecture.of_run(folder.path)
    model = model_of(config, info, architecture)
    parts = pure(config, model)
    plan, checkpoints = plan_of(config, model, parts.params), Checkpoints(folder.path)
    # What is trained when a checkpoint is written decides what the optimiser has a state of.
    frozen = plan.frozen[checkpoints.info(kind).get("phase", 0)]
    optimiser = optimiser_of(config.optimiser, lambda step: step * 0.0, plan)
    train_state, _ = checkpoints.restore(kind, initial_state(config, parts, optimiser, frozen))
    params, state = train_state.evaluated
    copy, fold = folding(model)
    apply = pure(config, copy).apply
    return TrainedModel(
        config=config,
        info=info,
        params=params,
        state=state,
        folded=fold(params, state),
        apply=apply,
        predict=make_predict(
            apply,
            mean,
            std,
            precision=config.run.precision,
            crop_size=config.augment.crop_size,
        ),
        normalisation=(mean, std),
        remembered=remembered,
        architecture=architecture,
    )
