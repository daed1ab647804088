"""Image files to probabilities, in batches of one size that threads read ahead; memory is the same for any number."""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from flaxcnn import data
from flaxcnn.train.evaluate import probabilities

Image = UInt8[np.ndarray, "h w c"]


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a model says of an image file.

    Attributes:
        image: the path as it was given.
        class_names: in the order of the probabilities.
        probabilities: one a class, or None where the file could not be read.
        error: why it could not be read, in a sentence; None if it could.
    """

    image: str
    class_names: tuple[str, ...]
    probabilities: Float[np.ndarray, " k"] | None
    error: str | None = None

    def top(self, count: int) -> list[tuple[str, float]]:
        """The most probable classes with their probabilities, most probable first; none without an answer."""
        if self.probabilities is None:
            return []
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.class_names[k], float(self.probabilities[k])) for k in order]


def classify_files(
    paths: Sequence[str | Path],
    logits_of: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]],
    info: data.DatasetInfo,
    *,
    batch_size: int,
    workers: int,
) -> Iterator[Answer]:
    """One answer for every path, in their order; a file that is no sound image gives one with an error.

    Args:
        paths: of image files.
        logits_of: of images of the shape that `info` has; called with `batch_size` images, the last ones padded.
        info: classes and image shape.
        batch_size: images computed at once, at least 1; fewer if there are fewer paths.
        workers: threads that read; a batch is read while another is computed, and no more is read ahead.
    """
    size = min(batch_size, len(paths))
    starts = iter(range(0, len(paths), size) if size else ())

    def read(path: str | Path) -> Image | data.DataError:
        try:
            return data.read_image(path, info.image_shape, max_value=info.max_value)
        except data.DataError as error:
            return error

    waiting: deque[list[tuple[str, Future]]] = deque()
    with ThreadPoolExecutor(max(1, workers)) as pool:
        try:
            for _ in range(2):
                _submit(pool, read, paths, starts, size, waiting)
            while waiting:
                found = [(path, future.result()) for path, future in waiting.popleft()]
                _submit(pool, read, paths, starts, size, waiting)
                yield from _answers(found, logits_of, info, size)
        finally:
            # The caller may stop early: what has not begun is not read any more.
            pool.shutdown(wait=True, cancel_futures=True)


def _submit(
    pool: ThreadPoolExecutor,
    read: Callable[[str | Path], Image | data.DataError],
    paths: Sequence[str | Path],
    starts: Iterator[int],
    size: int,
    waiting: deque[list[tuple[str, Future]]],
) -> None:
    """Have the next batch read, if there is one."""
    start = next(starts, None)
    if start is not None:
        waiting.append([(str(path), pool.submit(read, path)) for path in paths[start : start + size]])


def _answers(
    found: list[tuple[str, Image | data.DataError]],
    logits_of: Callable[[UInt8[np.ndarray, "n h w c"]], Float[np.ndarray, "n k"]],
    info: data.DatasetInfo,
    size: int,
) -> Iterator[Answer]:
    images = np.zeros((size, *info.image_shape), np.uint8)
    rows = [image for _, image in found if not isinstance(image, data.DataError)]
    if rows:
        images[: len(rows)] = rows
        chances = iter(probabilities(logits_of(images)))
    for path, image in found:
        if isinstance(image, data.DataError):
            yield Answer(path, info.class_names, None, str(image))
        else:
            yield Answer(path, info.class_names, next(chances))
