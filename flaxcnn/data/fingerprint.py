"""Tell whether a data set is the one that a run was trained on, and if not, what changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from flaxcnn.data.examination import File, some
from flaxcnn.data.known import Key, KnownFiles
from flaxcnn.data.source import DatasetInfo, Subset, content_hash
from flaxcnn.data.splits import Parts, Splits


@dataclass(frozen=True)
class Remembered:
    """What a run folder says of its training data.

    Attributes:
        info: classes, image shape and scale.
        mean, std: of the training images.
        fingerprint: None in folders of runs that kept none.
        files: of a folder of images, what was found in them.
    """

    info: DatasetInfo
    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]
    fingerprint: "Fingerprint | None"
    files: KnownFiles


@dataclass(frozen=True)
class Fingerprint:
    """What a run remembers of its data.

    Attributes:
        class_names: in the order of the labels.
        image_shape: height, width, channels.
        counts: images of each split.
        content: a hash of the list of files with their sizes, or of arrays.
    """

    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    counts: dict[str, int]
    content: str

    @classmethod
    def of(cls, splits: Splits) -> "Fingerprint":
        """The fingerprint of a data set that was loaded."""
        counts = {role: len(source) for role, source in splits.sources().items()}
        parts = splits.parts or Parts(splits.train, splits.validation, splits.test)
        return cls(splits.info.class_names, splits.info.image_shape, counts, content_of(parts))


def content_of(parts: Parts) -> str:
    """Return a hash of all parts."""
    if parts.content is not None:
        return parts.content
    lines = [f"{role} {content_hash(source)}" for role, source in parts.sources().items()]
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def roles_of(splits: Splits) -> dict[Key, str]:
    """Return the split that each image file belongs to; none if the data set has no such files."""
    parts = splits.parts
    if parts is None:
        return {}
    roles = {file.key: file.part for file in parts.files if file.error is None}
    training = parts.files_of_train()
    for role, source in splits.sources().items():
        if training and isinstance(source, Subset) and source.whole is parts.train:
            roles |= {training[index].key: role for index in source.indices.tolist()}
    return roles


def known_files(splits: Splits) -> KnownFiles:
    """Return the files of a data set with their splits, to be kept."""
    return KnownFiles.of(splits.parts.files if splits.parts else (), roles_of(splits))


def differences(before: Fingerprint, now: Fingerprint, then: KnownFiles, files: Iterable[File]) -> list[str]:
    """Say what changed, each in a few words; nothing if the data is the same.

    Args:
        before: what the run remembers.
        now: of the data that was loaded.
        then: the files that the run remembers, if it is a folder of images.
        files: those of the data that was loaded.
    """
    if before == now:
        return []
    found = changed_classes(before.class_names, now.class_names)
    if before.image_shape != now.image_shape:
        found.append(f"images are {by(now.image_shape)}, and were {by(before.image_shape)}")
    here = {(file.part, file.path): file.bytes for file in files}
    there = {(file.part, file.path): file.bytes for file in then.files.values()}
    if then.files:
        for names, what in (
            (here.keys() - there.keys(), "added"),
            (there.keys() - here.keys(), "removed"),
            ({name for name in here.keys() & there.keys() if here[name] != there[name]}, "of another size"),
        ):
            if names:
                paths = sorted(path for _, path in names)
                found.append(
                    f"{len(paths):,} image file{'s' if len(paths) > 1 else ''} {what} ({some(paths)})"
                )
    if before.counts != now.counts:
        found += [
            f"{role} has {now.counts.get(role, 0):,} images, and had {before.counts.get(role, 0):,}"
            for role in ("train", "validation", "test")
            if before.counts.get(role, 0) != now.counts.get(role, 0)
        ]
    return found or ["other images or labels, in the same number"]


def changed_classes(before: tuple[str, ...], now: tuple[str, ...]) -> list[str]:
    """Say which classes are others."""
    gone, new = [n for n in before if n not in now], [n for n in now if n not in before]
    if len(before) != len(now):
        named = [f"{word} {some(names)}" for word, names in (("new", new), ("gone", gone)) if names]
        return [f"{len(now)} classes, and were {len(before)}" + (f" ({', '.join(named)})" if named else "")]
    wrong = [(old, name) for old, name in zip(before, now, strict=True) if old != name]
    if not wrong:
        return []
    return [f"{len(wrong)} classes have another name ({some([f'{a} is now {b}' for a, b in wrong])})"]


def by(shape: tuple[int, ...]) -> str:
    """Write a shape as 8x8x1."""
    return "x".join(map(str, shape))
