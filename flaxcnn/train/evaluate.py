"""Exact evaluation of a split of any size, with one compiled function of one batch shape."""

import time
from collections import deque
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int32, Num

from flaxcnn import data
from flaxcnn.functional import Apply, Parameters, State
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.metrics import Accumulator, Evaluation

Predict = Callable[[Parameters, State, Num[Array, "n h w c"]], Float[Array, "n k"]]


def make_predict(
    apply: Apply,
    mean: Float[Array, " c"] | np.ndarray,
    std: Float[Array, " c"] | np.ndarray,
    *,
    precision: str = "float32",
    crop_size: int | None = None,
) -> Compiled:
    """A compiled `(params, state, images) -> logits` in evaluation mode; images are uint8 or in [0, 1].

    `precision` is that of products of float32 numbers on accelerators, as `Compiled` has it. With a `crop_size` only
    the square of that side in the middle of each image is looked at.
    """
    mean, std = jnp.asarray(mean), jnp.asarray(std)

    def predict(params: Parameters, state: State, images: Num[Array, "n h w c"]) -> Float[Array, "n k"]:
        x = data.to_float(images)
        if crop_size is not None:
            x = data.centre_crop(x, (crop_size, crop_size))
        x = data.normalise(x, mean, std)
        return apply(params, state, x, train=False)[0]

    return Compiled(predict, precision=precision)


def logits_of(
    predict: Predict, params: Parameters, state: State, source: data.Source, batch_size: int, workers: int = 2
) -> Iterator[tuple[Float[np.ndarray, "n k"], dict[str, np.ndarray]]]:
    """Yield `(logits, batch)` for every batch of `source` in order; padded rows are included, see `mask`.

    The device computes the next batch while the host looks at this one.
    """
    waiting: deque[tuple[jax.Array, dict[str, np.ndarray]]] = deque()
    # A split smaller than a batch is one batch of its own size: padding it would only compute zeros.
    size = min(batch_size, len(source))
    for batch in data.batches(source, size, shuffle=False, seed=0, epoch=0, workers=workers):
        waiting.append((predict(params, state, batch["image"]), batch))
        if len(waiting) > 1:
            logits, past = waiting.popleft()
            yield np.asarray(logits), past
    for logits, past in waiting:
        yield np.asarray(logits), past


def evaluate(
    predict: Predict,
    params: Parameters,
    state: State,
    source: data.Source,
    *,
    batch_size: int,
    workers: int = 2,
    each: Callable[[Float[np.ndarray, "n k"], Int32[np.ndarray, " n"]], None] | None = None,
) -> Evaluation:
    """Metrics over every example of `source`, each counted once, whatever the batch size.

    `each` is called with the logits and labels of every batch, in the order of the source, without padded rows.
    """
    start = time.perf_counter()
    accumulator = Accumulator(source.info.num_classes)
    for logits, batch in logits_of(predict, params, state, source, batch_size, workers):
        accumulator.add(logits, batch["label"], batch["mask"])
        if each is not None:
            each(logits[batch["mask"]], batch["label"][batch["mask"]])
    return accumulator.result(time.perf_counter() - start)


def probabilities(logits: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n k"]:
    """Softmax in float64 on the host."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)
