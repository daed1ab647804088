"""Checkpoints: the whole train state and where the run stood, in one file each, never half.

    checkpoints/step-00000105.safetensors

The newest file is the checkpoint `last`, and it says which files are the best on validation. One rename makes a
checkpoint count, so that a process that is killed at any moment leaves the one before it or the new one. A file is read
back before it counts. Files that the newest one does not name are deleted afterwards.
"""

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import jax
import numpy as np

from flaxcnn.errors import FlaxcnnError
from flaxcnn.train import array_file, orbax_checkpoint
from flaxcnn.train.array_file import ArrayFileError
from flaxcnn.train.state import TrainState

_NAME = re.compile(r"step-(\d{8,})\.safetensors")


class CheckpointError(FlaxcnnError):
    """A checkpoint that is missing, damaged, or of another model; one sentence says which."""


class Checkpoints:
    """The checkpoints of one run folder.

    A kind of checkpoint is `last`, `best`, or `best-2`, `best-3`, ... where a run keeps several.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute() / "checkpoints"

    def steps(self) -> list[int]:
        """The steps of the files that are there, oldest first."""
        names = [path.name for path in self.folder.iterdir()] if self.folder.is_dir() else []
        return sorted(int(match[1]) for name in names if (match := _NAME.fullmatch(name)))

    def exists(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return bool(self.kinds())

    def path(self, step: int) -> Path:
        """The file of the checkpoint after so many steps."""
        return self.folder / f"step-{step:08d}.safetensors"

    def save(self, train_state: TrainState, info: dict[str, Any]) -> None:
        """Write a checkpoint, which is then the last one; delete those that are neither it nor among the best.

        Args:
            train_state: everything a step changes.
            info: JSON that goes with it: where the run stands, and as `best` the steps of the best checkpoints, best
                first. This step may be one of them.

        Raises:
            OSError: the file cannot be written, or reads back as something else. The checkpoints of before are there.
        """
        self.folder.mkdir(exist_ok=True)
        step = int(train_state.step)
        path = self.path(step)
        temporary = path.with_name(f".{path.name}.tmp")
        arrays = jax.device_get(_named(_as_tree(train_state)))
        try:
            array_file.write(temporary, arrays, info)
            if not array_file.holds(temporary, arrays, info):
                raise OSError(f"The checkpoint {path} does not read back as it was written; it is not kept.")
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        self._delete_all_but({step, *info["best"]})

    def _delete_all_but(self, kept: set[int]) -> None:
        for path in self.folder.iterdir():
            match = _NAME.fullmatch(path.name)
            unfinished = path.name.startswith(".step-") and path.name.endswith(".tmp")
            if unfinished or (match and int(match[1]) not in kept):
                with contextlib.suppress(OSError):
                    path.unlink()

    def info(self, kind: str = "last") -> dict[str, Any]:
        """The JSON that was saved with a checkpoint.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        path = self._require(kind)
        with self._told(path):
            return orbax_checkpoint.read_info(path) if path.is_dir() else array_file.read_info(path)

    def restore(self, kind: str, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Read a checkpoint into the shapes and dtypes of `like`.

        Raises:
            CheckpointError: there is none, it is damaged, or it belongs to a model of other parameters.
        """
        path, info = self._require(kind), self.info(kind)
        tree = _as_tree(like)
        with self._told(path):
            # A folder is of version 0.1.
            shapes = _old_shapes(info) if path.is_dir() else array_file.read_shapes(path)
        target = {name: array_file.described(leaf.dtype, leaf.shape) for name, leaf in _named(tree).items()}
        for name in sorted(set(shapes) | set(target)):
            if (here := target.get(name)) != (there := shapes.get(name)):
                raise CheckpointError(
                    f"The checkpoint {path} belongs to another model or optimiser: {name} is "
                    f"{there or 'absent'} there and {here or 'absent'} here; use the configuration that wrote it."
                )
        with self._told(path):
            arrays = orbax_checkpoint.read(path, tree) if path.is_dir() else array_file.read(path)
        return _as_train_state(arrays, like), info

    def kinds(self) -> dict[str, Path]:
        """The kinds of checkpoints that there are, each with its file.

        Raises:
            CheckpointError: the newest file cannot be read.
        """
        steps = self.steps()
        if not steps:
            return orbax_checkpoint.find(self.folder)
        with self._told(newest := self.path(steps[-1])):
            best = array_file.read_info(newest)["best"]
        places = {f"best-{place}" if place > 1 else "best": step for place, step in enumerate(best, 1)}
        return {"last": newest} | {name: self.path(step) for name, step in places.items()}

    def adopt(self, like: TrainState) -> None:
        """Write the checkpoints of version 0.1 as this version has them, if there are no others, to go on from."""
        if self.steps():
            return
        # The best one comes before the last one, which names it.
        restored = [self.restore(kind, like) for kind in sorted(orbax_checkpoint.find(self.folder))]
        for train_state, info in restored:
            del info["checksums"]  # every file has its own now
            self.save(train_state, info)

    def _require(self, kind: str) -> Path:
        known = self.kinds()
        if not known:
            raise CheckpointError(f"There is no checkpoint in {self.folder}; train first.")
        if kind not in known:
            raise CheckpointError(
                f"There is no checkpoint {kind!r} in {self.folder}; there is {', '.join(known)}."
            )
        return known[kind]

    @contextlib.contextmanager
    def _told(self, path: Path) -> Any:
        """Tell what is wrong with a file, and what can be done."""
        try:
            yield
        except (ArrayFileError, OSError) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            others = [self.path(step).name for step in self.steps() if self.path(step) != path]
            remedy = f"delete it to use {others[-1]} instead" if others else "train again"
            raise CheckpointError(
                f"The checkpoint {path} is damaged or cannot be read ({reason}); {remedy}."
            ) from None


def _as_tree(train_state: TrainState) -> dict[str, Any]:
    """A plain tree of arrays: the key as its data, no entry for an average that is off."""
    tree = train_state._asdict() | {"key": jax.random.key_data(train_state.key)}
    if train_state.ema is None:
        del tree["ema"]
    # Optax states are named tuples, some of them empty: only their leaves are kept.
    tree["opt_state"] = dict(enumerate_leaves(train_state.opt_state))
    return tree


def enumerate_leaves(tree: Any) -> list[tuple[str, jax.Array]]:
    """The leaves of a tree with their paths as names."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _named(tree: dict[str, Any]) -> dict[str, jax.Array]:
    return {
        "/".join(str(part.key) for part in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _old_shapes(info: dict[str, Any]) -> dict[str, str]:
    """Dtype and shape by name, as version 0.1 stores them beside the checksums."""
    return {name: shape for name, (shape, _) in info["checksums"].items()}


def _as_train_state(arrays: dict[str, np.ndarray], like: TrainState) -> TrainState:
    tree = _as_tree(like)
    paths, structure = jax.tree_util.tree_flatten_with_path(tree)
    names = ["/".join(str(part.key) for part in path) for path, _ in paths]
    tree = jax.tree.unflatten(structure, [jax.numpy.asarray(arrays[name]) for name in names])
    leaves = [tree["opt_state"][name] for name, _ in enumerate_leaves(like.opt_state)]
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves)
    key = jax.random.wrap_key_data(tree["key"])
    return TrainState(tree["params"], tree["state"], opt_state, tree.get("ema"), key, tree["step"])
