"""Train, validation and test: disjoint, stratified by class, the same for the same seed."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from flaxcnn.data.errors import DataError
from flaxcnn.data.source import DatasetInfo, Labels, Source, Subset, all_labels

Holdout = tuple[Int64[np.ndarray, " kept"], Int64[np.ndarray, " held_out"]]


@dataclass(frozen=True)
class Splits:
    """The three parts of a data set; `validation` is None where its fraction is 0."""

    train: Source
    validation: Source | None
    test: Source
    info: DatasetInfo


def stratified_holdout(labels: Labels, count: int, seed: int) -> Holdout:
    """Choose `count` of n positions at random, each class in proportion to its size.

    Of class k with n_k of n members, count * n_k / n are chosen, rounded down; what is still missing goes to
    the classes with the largest remainders (equal ones in the order of the classes): the sum is exact.

    Args:
        labels: the class of each position.
        count: how many to hold out, 0 .. n.
        seed: the same seed chooses the same positions.

    Returns:
        The positions kept and the positions held out, each in ascending order; together 0 .. n - 1.
    """
    generator = np.random.default_rng(seed)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    sizes = np.array([len(positions) for positions in members], dtype=np.int64)
    quota, remainder = np.divmod(count * sizes, len(labels))
    largest = np.argsort(-remainder, kind="stable")[: count - quota.sum()]
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


def holdout_count(total: int, fraction: float | int) -> int:
    """Return how many of `total` images a fraction is: rounded, but at least one for a fraction above 0."""
    return max(1, round(total * fraction)) if fraction > 0 else 0


def split(
    train: Source,
    test: Source | None,
    *,
    seed: int,
    validation_fraction: float | int,
    test_fraction: float | int,
) -> Splits:
    """Split a data set.

    With n images and no test part, round(n * test_fraction) are held out for the test; of the m training
    images that remain, round(m * validation_fraction) are held out for validation.

    Args:
        train: all images, or the training images where the data set has a test part of its own.
        test: the test part, or None.
        seed: the same seed gives the same split.
        validation_fraction: of the training images; 0 for no validation split.
        test_fraction: of all images; used only when `test` is None.

    Raises:
        DataError: a fraction is out of range, or a split would be empty.
    """
    check_fraction("validation_fraction", validation_fraction, zero_allowed=True)
    labels = all_labels(train) if test is None or validation_fraction > 0 else None
    indices = np.arange(len(train))
    if test is None:
        check_fraction("test_fraction", test_fraction, zero_allowed=False)
        indices, held_out = stratified_holdout(labels, holdout_count(len(train), test_fraction), seed)
        test = Subset(train, held_out, "test")
    validation = None
    if validation_fraction > 0 and len(indices):
        count = holdout_count(len(indices), validation_fraction)
        kept, held_out = stratified_holdout(labels[indices], count, seed)
        validation = Subset(train, indices[held_out], "validation")
        indices = indices[kept]
    return Splits(Subset(train, indices, "train"), validation, test, train.info)
