"""Checkpoints of a run folder: which there are, which are kept, and that a failed save leaves the ones of before."""

import errno
import itertools
import json
import os
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from flaxcnn.train import array_file
from flaxcnn.train import state as train_states
from flaxcnn.train.checkpoint import CheckpointError, Checkpoints, enumerate_leaves

OPTIMISER = optax.adam(0.1)


def state_of(step, value=1.0):
    start = train_states.create(
        {"w": jnp.full((2, 3), value)}, {"n": jnp.zeros((), jnp.int32)}, OPTIMISER, seed=0, use_ema=False
    )
    return start._replace(step=jnp.asarray(step, jnp.int32))


def saved(checkpoints, step, best, value=1.0):
    checkpoints.save(state_of(step, value), {"best": best, "position": {"epoch": step}})


def weight(checkpoints, kind):
    return float(checkpoints.restore(kind, state_of(0))[0].params["w"][0, 0])


def test_the_newest_is_the_last_and_names_the_best(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert not checkpoints.exists()
    with pytest.raises(CheckpointError, match=r"There is no checkpoint in .*train first"):
        checkpoints.restore("last", state_of(0))
    saved(checkpoints, 5, [5], 1.0)
    saved(checkpoints, 10, [10, 5], 2.0)
    saved(checkpoints, 12, [10, 5], 3.0)
    assert {kind: path.name for kind, path in checkpoints.kinds().items()} == {
        "last": "step-00000012.safetensors",
        "best": "step-00000010.safetensors",
        "best-2": "step-00000005.safetensors",
    }
    assert [weight(checkpoints, kind) for kind in ("last", "best", "best-2")] == [3.0, 2.0, 1.0]
    with pytest.raises(CheckpointError, match=r"no checkpoint 'best-3' in .*; there is last, best, best-2"):
        checkpoints.info("best-3")
    saved(checkpoints, 15, [10])
    assert checkpoints.steps() == [10, 15]


def test_a_step_is_saved_again_as_often_as_it_comes(tmp_path):
    """Orbax refused a step that it had: a run that had been killed between two saves could never go on."""
    checkpoints = Checkpoints(tmp_path)
    saved(checkpoints, 5, [5], 1.0)
    saved(checkpoints, 5, [5], 2.0)
    assert checkpoints.steps() == [5]
    assert weight(checkpoints, "best") == 2.0


def test_a_restored_state_is_the_saved_one_and_a_step_may_take_its_buffers(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    state = state_of(7, 0.1)
    with jax.numpy_dtype_promotion("standard"):  # optax's own
        updates, opt_state = OPTIMISER.update({"w": jnp.full((2, 3), 0.3)}, state.opt_state, state.params)
    state = state._replace(opt_state=opt_state, ema={"w": updates["w"]})
    checkpoints.save(state, {"best": []})
    found, _ = checkpoints.restore("last", state)
    assert jax.tree.structure(found) == jax.tree.structure(state)
    for (name, here), (_, there) in zip(enumerate_leaves(found), enumerate_leaves(state), strict=True):
        if name != "key":
            np.testing.assert_array_equal(here, there, err_msg=name)
    np.testing.assert_array_equal(jax.random.key_data(found.key), jax.random.key_data(state.key))
    jax.jit(lambda tree: jax.tree.map(lambda x: x * x, tree), donate_argnums=0)(found.params)
    again, _ = checkpoints.restore("last", state)
    np.testing.assert_array_equal(again.params["w"], state.params["w"])


def test_another_model_is_named(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    saved(checkpoints, 5, [])
    other = state_of(0)._replace(params={"w": jnp.zeros((2, 4)), "b": jnp.zeros(1)})
    with pytest.raises(CheckpointError, match=r"params/b is absent there and float32\[1\] here"):
        checkpoints.restore("last", other)


@pytest.mark.parametrize("fails_at", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_the_checkpoint_of_before_and_nothing_else(tmp_path, monkeypatch, fails_at):
    checkpoints = Checkpoints(tmp_path)
    saved(checkpoints, 5, [5])

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if fails_at == "write":
        # In the middle of the arrays, after each was read once for its checksum.
        calls = itertools.count()
        arrays = len(jax.tree.leaves(state_of(0)))
        real = array_file._bytes
        monkeypatch.setattr(array_file, "_bytes", lambda x: real(x) if next(calls) < arrays + 2 else full())
    else:
        monkeypatch.setattr(os, fails_at, full)
    with pytest.raises(OSError, match="No space left"):
        saved(checkpoints, 10, [10])
    assert [path.name for path in checkpoints.folder.iterdir()] == ["step-00000005.safetensors"]
    assert checkpoints.info("last")["position"] == {"epoch": 5}


def test_what_reads_back_as_something_else_is_not_kept(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    saved(checkpoints, 5, [5])
    real = array_file.write

    def flipped(path, arrays, info):
        real(path, arrays, info)
        path.write_bytes(path.read_bytes()[:-1] + b"\x55")

    monkeypatch.setattr(array_file, "write", flipped)
    with pytest.raises(OSError, match="does not read back"):
        saved(checkpoints, 10, [10])
    assert checkpoints.steps() == [5]


def test_a_damaged_last_checkpoint_can_be_deleted_to_go_on_from_the_one_before(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    saved(checkpoints, 5, [5], 4.0)
    saved(checkpoints, 10, [5])
    path = checkpoints.path(10)
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"delete it to use step-00000005\.safetensors instead"):
        checkpoints.restore("last", state_of(0))
    path.unlink()
    assert weight(checkpoints, "last") == 4.0


def write_old(folder, step, value, position):
    """A checkpoint as version 0.1 wrote it, by Orbax."""
    import orbax.checkpoint as ocp

    state = state_of(step, value)
    tree = {
        "params": state.params,
        "state": state.state,
        "opt_state": dict(enumerate_leaves(state.opt_state)),
        "key": jax.random.key_data(state.key),
        "step": state.step,
    }
    checksums = {
        "/".join(part.key for part in path): [
            f"{leaf.dtype}{list(leaf.shape)}",
            zlib.crc32(np.ascontiguousarray(leaf).tobytes()),
        ]
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    with ocp.StandardCheckpointer() as writer:
        writer.save(folder / str(step) / "arrays", tree)
    (folder / str(step) / "info").mkdir()
    info = {"position": position, "model": "cnn", "checksums": checksums}
    (folder / str(step) / "info" / "metadata").write_text(json.dumps(info))


OLD_POSITION = {
    "epoch": 1, "batch": 0, "loss_sum": 0.0, "correct": 0, "count": 0, "seconds": 0.0, "learning_rate": 0.1,
    "gradient_norm": 1.0, "best_accuracy": 0.5, "best_loss": 1.5, "best_epoch": 1,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Orbax, which writes here, warns of sharding
def test_checkpoints_of_version_0_1_are_read_and_gone_on_from(tmp_path, capfd):
    folder = tmp_path / "checkpoints"
    write_old(folder / "best", 5, 1.0, OLD_POSITION)
    write_old(folder / "last", 8, 2.0, OLD_POSITION)
    checkpoints = Checkpoints(tmp_path)
    assert (weight(checkpoints, "best"), weight(checkpoints, "last")) == (1.0, 2.0)
    best = {"epoch": 1, "step": 5, "accuracy": 0.5, "loss": 1.5}
    assert checkpoints.info("last")["position"]["best"] == [best]
    checkpoints.adopt(state_of(0))
    assert checkpoints.steps() == [5, 8]
    assert (weight(checkpoints, "best"), weight(checkpoints, "last")) == (1.0, 2.0)
    # A kill had left a best checkpoint that was newer, on which version 0.1 stumbled for ever.
    write_old(folder / "best", 9, 3.0, OLD_POSITION)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    assert weight(checkpoints, "last") == 3.0
    largest = max(
        (path for path in (folder / "best" / "9" / "arrays").rglob("*") if path.is_file()),
        key=lambda path: path.stat().st_size,
    )
    capfd.readouterr()
    largest.write_bytes(b"")
    with pytest.raises(CheckpointError, match="is damaged or cannot be read") as caught:
        checkpoints.restore("last", state_of(0))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
