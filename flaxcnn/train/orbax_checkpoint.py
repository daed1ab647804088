"""Reads the checkpoints of version 0.1, which Orbax wrote; this version writes none.

checkpoints/last/STEP/   to go on from          checkpoints/best/STEP/   best on validation
"""

import contextlib
import json
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxcnn.train.array_file import ArrayFileError


def find(folder: Path) -> dict[str, Path]:
    """The checkpoints in `checkpoints/` of a run folder: `last`, the newest of all, and `best`, if they are there."""
    found = {}
    for kind in ("last", "best"):
        steps = [path for path in folder.glob(f"{kind}/*") if path.name.isdigit()]
        if steps:
            found[kind] = max(steps, key=lambda path: int(path.name))
    # A process that was killed may have left a best checkpoint that is newer: it is as good to go on from.
    newest = max(found.values(), key=lambda path: int(path.name), default=None)
    return {} if newest is None else found | {"last": newest}


def read_info(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint, with the position as this version has it.

    Raises:
        ArrayFileError: it is not whole.
    """
    try:
        info = json.loads((path / "info" / "metadata").read_text())
        position = info["position"]
        accuracy, loss, epoch = (position.pop(f"best_{name}") for name in ("accuracy", "loss", "epoch"))
        best = find(path.parents[1]).get("best")
        known = epoch and best is not None
        position["best"] = (
            [{"epoch": epoch, "step": int(best.name), "accuracy": accuracy, "loss": loss}] if known else []
        )
    except (ValueError, KeyError, TypeError, OSError):
        raise ArrayFileError("its description is missing or damaged") from None
    return info | {"best": [item["step"] for item in position["best"]]}


def read(path: Path, like: dict[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a checkpoint by name, such as `params/conv1.weight`.

    Args:
        path: one of `find`.
        like: a tree of arrays with the shapes and dtypes that are expected.

    Raises:
        ArrayFileError: they cannot be read, or differ from their checksums.
    """
    checksums = read_info(path)["checksums"]
    abstract = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), like)
    try:
        with _quiet():
            import orbax.checkpoint as ocp

            with ocp.StandardCheckpointer() as reader:
                tree = reader.restore(path / "arrays", abstract)
    except Exception as error:  # whatever the library makes of a damaged file
        raise ArrayFileError(
            next(iter(str(error).strip().splitlines()), type(error).__name__)[:120]
        ) from None
    arrays = {
        "/".join(str(part.key) for part in parts): np.asarray(leaf)
        for parts, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for name, array in arrays.items():
        if zlib.crc32(np.ascontiguousarray(array).tobytes()) != checksums[name][1]:
            raise ArrayFileError(f"{name} differs from its checksum")
    return arrays


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep Orbax's reports of its housekeeping, its tasks' errors and its warnings off the screen."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for logger in loggers:
                logger.setLevel(logging.CRITICAL + 1)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
