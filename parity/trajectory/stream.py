"""The batches of a training: the same for all four runs."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from parity.errors import CannotCompare


class Batch(NamedTuple):
    """Inputs in PyTorch's layout (float32 images [n, c, h, w]), and targets: labels [n] or probabilities [n, k]."""

    x: np.ndarray
    y: np.ndarray


def batches(stream: Iterable[Any], steps: int) -> Iterator[Batch]:
    """The first `steps` batches of a stream of (x, y).

    Raises:
        CannotCompare: the stream ends early, or an item is no pair of arrays.
    """
    count = 0
    for item in itertools.islice(stream, steps):
        try:
            x, y = item
        except (TypeError, ValueError):
            raise CannotCompare(
                f"Batch {count} is a {type(item).__name__}; each batch must be a pair (x, y) of arrays."
            ) from None
        yield Batch(_array(x), _array(y))
        count += 1
    if count < steps:
        raise CannotCompare(
            f"The data hold {count} batches, but {steps} steps were asked for: ask for fewer."
        )


def same_batches(torch: Iterable[Any], flax: Iterable[Any], steps: int) -> Iterator[Batch]:
    """The batches of two streams, one for each side, which must be equal.

    Raises:
        CannotCompare: they differ; the step and the number of different rows are named.
    """
    pairs = zip(batches(torch, steps), batches(flax, steps), strict=True)
    for number, (torch_batch, flax_batch) in enumerate(pairs):
        arrays = {"inputs": (torch_batch.x, flax_batch.x), "targets": (torch_batch.y, flax_batch.y)}
        for name, (a, b) in arrays.items():
            if a.shape != b.shape:
                raise CannotCompare(
                    f"The two sides are given different batches: at step {number} PyTorch's {name} have shape "
                    f"{list(a.shape)} and Flax's {list(b.shape)} (both in PyTorch's layout); give them the same."
                )
            rows = int(np.sum(np.any((a != b).reshape(len(a), -1), axis=1)))
            if rows:
                raise CannotCompare(
                    f"The two sides are given different batches: at step {number} the {name} of {rows} of {len(a)} "
                    "rows differ; use one order and one preprocessing for both."
                )
        yield torch_batch


def _array(value: Any) -> np.ndarray:
    detached = value.detach().cpu() if hasattr(value, "detach") else value
    array = np.asarray(detached)
    # All four runs get the same numbers, so these must be exact in float32.
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def from_data(name: str, batch_size: int, seed: int) -> Iterator[Batch]:
    """Shuffled epochs of the training images of a data set that `flaxcnn.data` knows, normalised, without end.

    Args:
        name: "digits", "fashion_mnist", a path to an .npz, ...
        batch_size: images a step; the short last batch of an epoch is left out.
        seed: of split and order.

    Raises:
        CannotCompare: the data cannot be read, or hold less than a batch.
    """
    from flaxcnn import data

    try:
        source = data.load(name, seed=seed).train
    except data.DataError as error:
        raise CannotCompare(f"--data {name}: {error}") from None
    if len(source) < batch_size:
        raise CannotCompare(
            f"--data {name} holds {len(source)} training images, less than one batch of {batch_size}: use a "
            "smaller --batch-size."
        )
    mean, std = data.channel_statistics(source)
    for epoch in itertools.count():
        order = np.random.default_rng([seed, epoch]).permutation(len(source))
        for start in range(0, len(source) - batch_size + 1, batch_size):
            images, labels = source.gather(np.sort(order[start : start + batch_size]))
            scaled = (images.astype(np.float32) / np.float32(255) - mean) / np.maximum(std, 1e-6)
            yield Batch(
                np.ascontiguousarray(np.moveaxis(scaled.astype(np.float32), -1, 1)), labels.astype(np.int64)
            )
