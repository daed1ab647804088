"""What a network costs and gains: accuracy, parameters, FLOPs, bytes, latency."""

import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flaxcnn import ops
from flaxcnn.compress import storage
from flaxcnn.functional import Functional
from flaxcnn.models.resized import Architecture
from flaxcnn.train.setup import model_of, pure
from flaxcnn.train.trained import TrainedModel
from flaxcnn.weights import to_torch

BATCHES = (1, 64)


def compiled_flops(parts: Functional, image_shape: tuple[int, int, int]) -> float:
    """Floating-point operations for one image, as XLA counts them in the compiled program by the plain rules.

    The fast rules do other work for the same result, and FLOPs say how large a network is.
    """

    def logits(params: Any, state: Any, x: jax.Array) -> jax.Array:
        with ops.fast_rules():
            return parts.apply(params, state, x, train=False)[0]

    arrays = jax.tree.map(lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype), parts[1:])
    images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return float(jax.jit(logits).lower(*arrays, images).compile().cost_analysis()["flops"])


def figures(
    trained: TrainedModel, architecture: Architecture | None, file: Path | None = None
) -> dict[str, Any]:
    """Accuracy on the test split, parameters, FLOPs, and the bytes of its compressed file, which is written.

    Args:
        trained: a network.
        architecture: its shapes, where they are not those of the registry.
        file: to write the compressed weights into; without, only their size is found out.
    """
    size, (height, width, channels) = trained.config.augment.crop_size, trained.info.image_shape
    shape = (height, width, channels) if size is None else (size, size, channels)
    parts = pure(trained.config, model_of(trained.config, trained.info, architecture))
    result = trained.evaluate()
    weights = to_torch(trained.params, trained.state)
    params = [np.asarray(value) for value in trained.params.values()]
    return {
        "accuracy": result.accuracy,
        "loss": result.loss,
        "count": result.count,
        "parameters": sum(value.size for value in params),
        "nonzero": int(sum(np.count_nonzero(value) for value in params)),
        "flops": compiled_flops(parts, shape),
        "bytes": len(storage.packed(weights)) if file is None else storage.write(file, weights),
        "plain_bytes": sum(value.nbytes for value in weights.values()),
    }


def latencies(before: TrainedModel, after: TrainedModel, repeats: int) -> list[dict[str, float]]:
    """Median seconds of a prediction at each batch size of `BATCHES`, of both networks, which take turns.

    Args:
        before, after: two networks for the same images.
        repeats: predictions of each that are timed.
    """
    found: list[dict[str, float]] = [{}, {}]
    draw = np.random.default_rng(0)
    for size in BATCHES:
        images = draw.integers(0, 256, (size, *before.info.image_shape), np.uint8)
        seconds: tuple[list[float], list[float]] = ([], [])
        for trained in (before, after):
            trained.logits(images)  # which compiles
        for _ in range(repeats):
            for number, trained in enumerate((before, after)):
                start = time.perf_counter()
                trained.logits(images)
                seconds[number].append(time.perf_counter() - start)
        for number in range(2):
            found[number][f"latency_{size}"] = statistics.median(seconds[number])
    return found
