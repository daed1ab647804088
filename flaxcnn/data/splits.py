"""Splits for training, validation and test: disjoint, stratified by class, the same for the same seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flaxcnn.data.errors import DataError
from flaxcnn.data.examination import File
from flaxcnn.data.source import DatasetInfo, Labels, Source, Subset, all_labels

# Above this size a split is not stratified: its labels would require reading every whole record, and with so many
# images the classes keep nearly the same proportions anyway.
STRATIFY_LIMIT = 200_000

Holdout = tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class Parts:
    """The parts that a data set has on disk; missing parts are split off `train` later.

    Attributes:
        notes: what the user should know of how the files are read, one sentence each.
        files: of a folder of images, every image file, damaged ones too.
        content: a hash by which a later look tells whether it is the same data; None if there is none yet.
    """

    train: Source
    validation: Source | None = None
    test: Source | None = None
    notes: tuple[str, ...] = ()
    files: tuple[File, ...] = ()
    content: str | None = None

    def files_of_train(self) -> list[File]:
        """The file of each training image, in the order of the source."""
        return [file for file in self.files if file.part == "train" and file.error is None]

    def sources(self) -> dict[str, Source]:
        """The parts that there are, by role."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: source for role, source in every.items() if source is not None}


@dataclass(frozen=True)
class Splits:
    """The three splits of a data set; `validation` is None if its fraction is 0, `test` only in `flaxcnn.fit`.

    Attributes:
        parts: what was divided; None if the splits were not made by `split`.
    """

    train: Source
    validation: Source | None
    test: Source | None
    info: DatasetInfo
    parts: Parts | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know of how the files are read, one sentence each."""
        return self.parts.notes if self.parts is not None else ()

    def sources(self) -> dict[str, Source]:
        """The splits that there are, by role."""
        every = {"train": self.train, "validation": self.validation, "test": self.test}
        return {role: source for role, source in every.items() if source is not None}


def stratified_holdout(labels: Labels, count: int, seed: int) -> Holdout:
    """Choose `count` of n positions at random, each class in proportion to its size.

    Of class k with n_k of n members, count * n_k / n are chosen, rounded down. The classes with the largest
    remainders get one more each, equal remainders in random order, until the sum is `count`. Within a class
    every position has the same chance.

    Args:
        labels: the class of each position.
        count: the number of positions to hold out, 0 .. n.
        seed: the same seed chooses the same positions.

    Returns:
        The positions kept and the positions held out, each in ascending order; together 0 .. n - 1.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    sizes = np.array([len(positions) for positions in members], dtype=np.int64)
    quota, remainder = np.divmod(count * sizes, len(labels))
    ties_at_random = generator.permutation(len(sizes))
    largest = np.lexsort((ties_at_random, -remainder))[: count - quota.sum()]
    quota[largest] += 1
    chosen = np.zeros(len(labels), dtype=bool)
    for positions, number in zip(members, quota, strict=True):
        chosen[generator.permutation(positions)[:number]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def check_fraction(name: str, fraction: float | int, *, zero_allowed: bool) -> None:
    """Raise a DataError unless the fraction lies in (0, 1), or is 0 where that is allowed."""
    if not (0 < fraction < 1 or (zero_allowed and fraction == 0)):
        low = "0 <= " if zero_allowed else "0 < "
        raise DataError(f"{name} is {fraction}, but {low}{name} < 1 is needed.")


def split(
    parts: Parts,
    *,
    seed: int,
    validation_fraction: float | int,
    test_fraction: float | int,
    roles: list[str | None] | None = None,
) -> Splits:
    """Split a data set.

    With n training images and no test part, round(n * test_fraction) are held out for the test. Of the m
    remaining images, round(m * validation_fraction) are held out for validation, unless there is a validation part.

    Args:
        parts: the parts that the data set has.
        seed: the same seed gives the same split.
        validation_fraction: the share of the training images; 0 for no validation split, even if there is such a part.
        test_fraction: the share of all images; used only if the data set has no test part.
        roles: of a folder of images that was split before, the split that each training image belonged to, or None
            for a new image. They stay where they were; a new one is drawn by its content.

    Raises:
        DataError: a fraction is out of range, or a split would be empty.
    """
    check_fraction("validation_fraction", validation_fraction, zero_allowed=True)
    check_fraction("test_fraction", test_fraction, zero_allowed=False)
    train, test = parts.train, parts.test
    validation = parts.validation if validation_fraction > 0 else None
    if roles is not None:
        shares = {
            "test": test_fraction if test is None else 0,
            "validation": validation_fraction if validation is None else 0,
        }
        positions = kept_roles(roles, [file.digest for file in parts.files_of_train()], shares)
        drawn = {role: Subset(train, indices, role) for role, indices in positions.items()}
        return Splits(
            drawn["train"], drawn.get("validation", validation), drawn.get("test", test), train.info, parts
        )
    if test is None:
        train, test = hold_out(train, test_fraction, seed, "test")
    if validation is None and validation_fraction > 0:
        train, validation = hold_out(train, validation_fraction, seed, "validation")
    return Splits(train, validation, test, train.info, parts)


def kept_roles(
    roles: list[str | None], digests: list[str], shares: dict[str, float | int]
) -> dict[str, Int64[np.ndarray, " _"]]:
    """Return the positions of each split that is drawn, each image where it was before.

    A new image falls into a split by a number in [0, 1) that depends on its content alone. So no later change of the
    data moves it.

    Args:
        roles: the split of each image, or None for a new one.
        digests: of the content of each image, in hexadecimal.
        shares: of the test and the validation split; 0 if it is not drawn.
    """
    found: dict[str, list[int]] = {"train": []} | {role: [] for role, share in shares.items() if share}
    for position, (role, digest) in enumerate(zip(roles, digests, strict=True)):
        if role is None:
            # Of what the test leaves, validation gets its share.
            chance = int(digest, 16) / 16 ** len(digest)
            of_validation = shares["test"] + shares["validation"] * (1 - shares["test"])
            drawn = "test" if chance < shares["test"] else "validation" if chance < of_validation else "train"
        else:
            drawn = role if role in found else "train"
        found[drawn].append(position)
    return {role: np.array(positions, np.int64) for role, positions in found.items()}


def hold_out(source: Source, fraction: float | int, seed: int, role: str) -> tuple[Subset, Subset]:
    """Return the remaining training split and the held-out split of at least one image."""
    count = max(1, round(len(source) * fraction))
    stratify = len(source) <= STRATIFY_LIMIT
    labels = all_labels(source) if stratify else np.zeros(len(source), np.int32)
    kept, held_out = stratified_holdout(labels, count, seed)
    return Subset(source, kept, "train"), Subset(source, held_out, role)
