"""TensorBoard's files of a run that was resumed, read as TensorBoard reads them."""

import errno
import os
import struct
from pathlib import Path

import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from flaxcnn.train import run
from flaxcnn.train.events import EventWriter
from flaxcnn.train.run_folder import RunFolder


def events(folder):
    """All events, in the order of the files' names; the format of a record is TensorFlow's TFRecord."""
    found = []
    for path in sorted((folder / "events").iterdir()):
        content, place = path.read_bytes(), 0
        while place < len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            found.append(Event.FromString(content[place + 12 : place + 12 + length]))
            place += 12 + length + 4
    return found


def shown(folder):
    """Step and value of each scalar that TensorBoard shows: a start hides what was recorded from its step on."""
    scalars = []
    for event in events(folder):
        if event.session_log.status == SessionLog.START:
            scalars = [item for item in scalars if item[0] < event.step]
        scalars += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return scalars


def record(epoch, loss):
    return {"epoch": epoch, "step": 5 * epoch, "train_loss": loss, "validation_accuracy": None}


def test_a_resumed_run_shows_every_epoch_once(tmp_path):
    with EventWriter(tmp_path, True, None) as writer:
        writer.write(record(1, 1.0))
        writer.write(record(2, 2.0))
        writer.write(record(3, 3.0))  # the process is killed before its checkpoint
    # Two epochs were finished: what comes after step 10 is made again.
    with EventWriter(tmp_path, True, 11) as writer:
        writer.write(record(3, 3.5))
    assert shown(tmp_path) == [(5, "train/loss", 1.0), (10, "train/loss", 2.0), (15, "train/loss", 3.5)]


class Death(BaseException):
    """What no code catches, as none runs after kill -9."""


@pytest.mark.parametrize("written", [False, True])
def test_a_killed_run_shows_every_epoch_once(quick, job_config, monkeypatch, written):
    """TensorBoard lost the last epoch before each resume: its start hides what was recorded at that step itself."""
    monkeypatch.setattr("flaxcnn.train.loop.SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    config = job_config.replace(tensorboard=True, epochs=4)
    real = EventWriter.write

    def killed(writer, record):
        if record["epoch"] < 3 or written:
            real(writer, record)
        if record["epoch"] == 3:
            raise Death

    with monkeypatch.context() as patched, pytest.raises(Death):
        patched.setattr(EventWriter, "write", killed)
        run.train(config)
    run.resume(config.run.out)
    folder = Path(config.run.out)
    expected = [
        (item["step"], pytest.approx(item["train_loss"])) for item in RunFolder.open(folder).history()
    ]
    assert [(step, value) for step, tag, value in shown(folder) if tag == "train/loss"] == expected
    assert [step for step, _ in expected] == [5, 10, 15, 20]


def test_nothing_is_written_where_it_is_off(tmp_path):
    with EventWriter(tmp_path, False, None) as writer:
        writer.write(record(1, 1.0))
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_an_error_of_the_one_who_writes(tmp_path, monkeypatch):
    """From a thread of tensorboardX's it would end that thread, and the next write wait for it for ever."""
    with EventWriter(tmp_path, True, None) as writer:
        writer.write(record(1, 1.0))

        def full(*arguments):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched, pytest.raises(OSError, match="No space"):
            patched.setattr("tensorboardX.record_writer.RecordWriter.flush", full)
            writer.write(record(2, 2.0))
