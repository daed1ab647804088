"""Checkpoints: the whole train state and where the run stood, written by Orbax, never half.

    checkpoints/last/STEP/   to go on from          checkpoints/best/STEP/   best on validation

A new checkpoint is complete before the one before it is removed. Every array's checksum is stored beside it,
so that a damaged file is found and named instead of trained on.
"""

import contextlib
import logging
import warnings
import zlib
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from flaxcnn.errors import FlaxcnnError
from flaxcnn.train.state import TrainState

Kind = Literal["last", "best"]


class CheckpointError(FlaxcnnError):
    """A checkpoint that is missing, damaged, or of another model; one sentence says which."""


class Checkpoints:
    """The checkpoints of one run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute() / "checkpoints"

    def exists(self, kind: Kind) -> bool:
        """Whether there is a complete checkpoint of this kind."""
        return self._latest(kind) is not None

    def save(self, kind: Kind, train_state: TrainState, info: dict[str, Any]) -> None:
        """Write a checkpoint; the one before it is removed once this one is complete.

        Args:
            kind: `last` or `best`.
            train_state: everything a step changes.
            info: JSON that goes with it: epoch, batch, metrics, the model's name.
        """
        import orbax.checkpoint as ocp

        tree = _as_tree(train_state)
        with self._manager(kind, create=True) as manager:
            manager.save(
                int(train_state.step),
                args=ocp.args.Composite(
                    arrays=ocp.args.StandardSave(tree),
                    info=ocp.args.JsonSave(info | {"checksums": _checksums(tree)}),
                ),
                force=True,
            )
            manager.wait_until_finished()

    def info(self, kind: Kind) -> dict[str, Any]:
        """The JSON that was saved with a checkpoint.

        Raises:
            CheckpointError: there is none, or it cannot be read.
        """
        import orbax.checkpoint as ocp

        step = self._require(kind)
        try:
            with self._manager(kind) as manager:
                return dict(
                    manager.restore(step, args=ocp.args.Composite(info=ocp.args.JsonRestore()))["info"]
                )
        except Exception as error:
            raise self._damaged(kind, step, error) from None

    def restore(self, kind: Kind, like: TrainState) -> tuple[TrainState, dict[str, Any]]:
        """Read a checkpoint into the shapes and dtypes of `like`.

        Raises:
            CheckpointError: there is none, it is damaged, or it belongs to a model of other parameters.
        """
        import orbax.checkpoint as ocp

        info = self.info(kind)
        step = self._require(kind)
        target = _as_tree(like)
        self._require_same_arrays(kind, info["checksums"], target)
        abstract = jax.tree.map(lambda array: jax.ShapeDtypeStruct(array.shape, array.dtype), target)
        try:
            with self._manager(kind) as manager:
                arguments = ocp.args.Composite(arrays=ocp.args.StandardRestore(abstract))
                tree = manager.restore(step, args=arguments)["arrays"]
        except Exception as error:
            raise self._damaged(kind, step, error) from None
        found = _checksums(tree)
        if wrong := [name for name, (_, checksum) in info["checksums"].items() if found[name][1] != checksum]:
            raise CheckpointError(
                f"The checkpoint {self.folder / kind / str(step)} is damaged: {wrong[0]} and {len(wrong) - 1} "
                "other arrays differ from their checksums; use the other checkpoint or train again."
            )
        return _as_train_state(jax.tree.map(jax.numpy.asarray, tree), like), info

    def _require_same_arrays(self, kind: Kind, saved: dict[str, Any], target: dict[str, Any]) -> None:
        wanted = _shapes(target)
        for name in sorted(set(saved) | set(wanted)):
            here, there = wanted.get(name), saved.get(name, [None])[0]
            if here != there:
                raise CheckpointError(
                    f"The checkpoint {self.folder / kind} belongs to another model or optimiser: {name} is "
                    f"{there or 'absent'} there and {here or 'absent'} here; use the configuration that wrote it."
                )

    def _latest(self, kind: Kind) -> int | None:
        folder = self.folder / kind
        steps = (
            [int(path.name) for path in folder.glob("*") if path.name.isdigit()] if folder.is_dir() else []
        )
        return max(steps, default=None)

    def _require(self, kind: Kind) -> int:
        step = self._latest(kind)
        if step is None:
            raise CheckpointError(f"There is no {kind} checkpoint in {self.folder}; train first.")
        return step

    def _damaged(self, kind: Kind, step: int, error: Exception) -> CheckpointError:
        reason = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        return CheckpointError(
            f"The checkpoint {self.folder / kind / str(step)} cannot be read ({reason}); use the other "
            "checkpoint or train again."
        )

    @contextlib.contextmanager
    def _manager(self, kind: Kind, create: bool = False) -> Any:
        with _quiet():
            import orbax.checkpoint as ocp

            options = ocp.CheckpointManagerOptions(
                max_to_keep=1, create=create, enable_async_checkpointing=False
            )
            with ocp.CheckpointManager(self.folder / kind, options=options) as manager:
                yield manager


@contextlib.contextmanager
def _quiet() -> Any:
    """Orbax reports its housekeeping through absl's logger and warns of sharding that a CPU run has none of."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _as_tree(train_state: TrainState) -> dict[str, Any]:
    """A plain tree of arrays: the key as its data, no entry for an average that is off."""
    tree = train_state._asdict() | {"key": jax.random.key_data(train_state.key)}
    if train_state.ema is None:
        del tree["ema"]
    # Optax states are named tuples, some of them empty; Orbax stores their leaves in order.
    tree["opt_state"] = dict(enumerate_leaves(train_state.opt_state))
    return tree


def enumerate_leaves(tree: Any) -> list[tuple[str, jax.Array]]:
    """The leaves of a tree with their paths as names."""
    return [
        (jax.tree_util.keystr(path, simple=True, separator="."), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    ]


def _as_train_state(tree: dict[str, Any], like: TrainState) -> TrainState:
    leaves = [tree["opt_state"][name] for name, _ in enumerate_leaves(like.opt_state)]
    opt_state = jax.tree.unflatten(jax.tree.structure(like.opt_state), leaves)
    key = jax.random.wrap_key_data(tree["key"])
    return TrainState(tree["params"], tree["state"], opt_state, tree.get("ema"), key, tree["step"])


def _named_arrays(tree: dict[str, Any]) -> dict[str, jax.Array]:
    return {
        "/".join(str(part.key) for part in path): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def _shapes(tree: dict[str, Any]) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in _named_arrays(tree).items()}


def _checksums(tree: dict[str, Any]) -> dict[str, list[str | int]]:
    """For every array its dtype and shape, and the CRC-32 of its bytes."""
    shapes = _shapes(tree)
    return {
        name: [shapes[name], zlib.crc32(np.ascontiguousarray(leaf).tobytes())]
        for name, leaf in _named_arrays(tree).items()
    }
