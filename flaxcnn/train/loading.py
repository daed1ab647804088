"""The data of a run: loaded for the first time, or again and held against what the run remembers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from flaxcnn import arrays, data
from flaxcnn.config import Config
from flaxcnn.data import DataError, Fingerprint, KnownFiles, Remembered, Track, untracked


@dataclass(frozen=True)
class Loaded:
    """The data of a run.

    Attributes:
        splits: training, validation (or `None`) and test images.
        mean, std: of the training images, or what the run remembers of them, in units of [0, 1].
        notes: what the user should know, one sentence each.
        changed: it is not the data that the run remembers, and the user knows.
    """

    splits: data.Splits
    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]
    notes: tuple[str, ...] = ()
    changed: bool = False


def load_splits(config: Config, *, known: KnownFiles | None = None, track: Track = untracked) -> data.Splits:
    """The images of a run, divided as its configuration says; see `data.load` for `known` and `track`."""
    settings = config.data
    if settings.data == arrays.NAME:
        raise arrays.unstored()
    return data.load(
        settings.data,
        data_dir=settings.data_dir,
        seed=settings.split_seed,
        validation_fraction=settings.validation_fraction,
        test_fraction=settings.test_fraction,
        image_size=settings.image_size,
        channels=settings.channels,
        max_value=settings.max_value,
        skip_damaged=settings.skip_damaged,
        workers=max(1, settings.workers),
        track=track,
        known=known,
    )


def load_data(config: Config, *, track: Track = untracked) -> Loaded:
    """Load the data of a new run: look into every file, and measure the training images.

    Args:
        config: of the run.
        track: shows the progress.

    Raises:
        DataError: it cannot be used, or has only one class.
    """
    splits = load_splits(config, track=track)
    data.require_classes(splits.info)
    mean, std = data.channel_statistics(splits.train, workers=config.data.workers, track=track)
    return Loaded(splits, mean, std, (*splits.notes, *data.advice(splits)))


def load_again(
    config: Config, remembered: Remembered, *, data_changed: bool = False, track: Track = untracked
) -> Loaded:
    """Load the data of a run that was begun before; files that are known are not looked into again.

    Args:
        config: of the run.
        remembered: what the run folder says of the data.
        data_changed: go on with other data, as far as the model can take it.
        track: shows the progress.

    Raises:
        DataError: it cannot be used, or is not the data that the run began with.
    """
    splits = load_splits(as_read_before(config, remembered), known=remembered.files, track=track)
    changes = changes_of(splits, remembered)
    name = splits.info.name
    if changes and not data_changed:
        raise DataError(
            f"The data {name} is not what the run was trained on: {'; '.join(changes)}. Bring the old data back, or go "
            "on with this knowingly by --data-changed."
        )
    before, now = remembered.info, splits.info
    if (now.num_classes, now.image_shape) != (before.num_classes, before.image_shape):
        raise DataError(
            f"The data set {name} has {now.num_classes} classes and images of {now.image_shape}, but the model was "
            f"trained on {before.num_classes} classes and {before.image_shape}; give the data it was trained on."
        )
    notes = list(splits.notes)
    if changes:
        require_same_division(splits)
        notes.append(f"The data changed since the run began: {'; '.join(changes)}.")
    return Loaded(splits, remembered.mean, remembered.std, tuple(notes), bool(changes))


def as_read_before(config: Config, remembered: Remembered) -> Config:
    """The configuration with the colours and the scale that the images of a folder were read with."""
    settings, info = config.data, remembered.info
    data_dir = None if settings.data_dir is None else Path(settings.data_dir)
    if data.folder_of(settings.data, data_dir) is None:
        return config
    scale = info.max_value
    if scale is None and remembered.fingerprint is None:
        scale = 65535  # as version 0.1 read grey with 16 bits
    return config.replace(channels=info.image_shape[2], max_value=scale)


def changes_of(splits: data.Splits, remembered: Remembered) -> list[str]:
    """Say what changed; nothing if it is the same, or if the run kept no fingerprint."""
    if remembered.fingerprint is None:
        return []
    files = splits.parts.files if splits.parts is not None else ()
    return data.differences(remembered.fingerprint, Fingerprint.of(splits), remembered.files, files)


def require_same_division(splits: data.Splits) -> None:
    """Raise if changed data is divided by chance in a way that mixes training and test images.

    Image files keep their split. Arrays are divided by position, and a position holds another image now.
    """
    parts = splits.parts
    if parts is not None and not parts.files and parts.test is None:
        raise DataError(
            f"The data {splits.info.name} changed and has no test part of its own: dividing it again would make "
            "training images test images. Store the test images apart (x_test and y_test of an archive)."
        )
