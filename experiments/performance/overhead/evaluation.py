"""The gain from batch norms folded into convolutions: both models evaluate the same batches, in turn."""

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from experiments.performance.overhead.settings import SETTINGS, RunSetting
from flaxcnn.functional import functional
from flaxcnn.models.folding import folding
from flaxcnn.train.compiling import Compiled
from flaxcnn.train.evaluate import make_predict
from flaxcnn.train.loading import load_splits
from flaxcnn.train.setup import model_of

# A turn lasts about this long.
_TURN_SECONDS = 1.0


def measured(rounds: int, settings: tuple[RunSetting, ...] = SETTINGS) -> dict[str, Any]:
    """Seconds per batch with and without the norms, to compile each model, and to fold."""
    return {"settings": {setting.name: _compared(setting, rounds) for setting in settings}}


def _compared(setting: RunSetting, rounds: int) -> dict[str, Any]:
    source = load_splits(setting.config).test
    assert source is not None  # Fashion-MNIST has a test split of its own
    images = source.gather(np.arange(setting.config.run.batch_size))[0]
    model = model_of(setting.config, source.info)
    original = functional(model)
    copy, fold = folding(model)
    start = time.perf_counter()
    folded = jax.block_until_ready(fold(original.params, original.state))
    fold_seconds = time.perf_counter() - start
    mean = np.zeros(source.info.image_shape[2], np.float32)
    sides = {
        "plain": (make_predict(original.apply, mean, mean + 1.0), (original.params, original.state)),
        "folded": (make_predict(functional(copy).apply, mean, mean + 1.0), folded),
    }

    def call(predict: Compiled, arrays: tuple) -> Callable[[], Any]:
        return lambda: jax.block_until_ready(predict(*arrays, images))

    calls = {name: call(*side) for name, side in sides.items()}
    for evaluate in calls.values():
        evaluate()
    start = time.perf_counter()
    calls["plain"]()
    times = max(1, round(_TURN_SECONDS / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds):
        for name in list(calls) if number % 2 == 0 else reversed(calls):
            start = time.perf_counter()
            for _ in range(times):
                calls[name]()
            seconds[name].append((time.perf_counter() - start) / times)
    return {
        "seconds": seconds,
        "compile_seconds": {name: predict.compile_seconds for name, (predict, _) in sides.items()},
        "fold_seconds": fold_seconds,
    }
