"""One process at a time, whatever became of the one before."""

import errno
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from flaxcnn.train import lock
from flaxcnn.train.lock import LockedError, locked


def test_a_second_owner_is_told_of_the_first(tmp_path):
    sentence = rf"by process {os.getpid()} on {socket.gethostname()}; wait"
    with locked(tmp_path), pytest.raises(LockedError, match=sentence), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def ended_process():
    """The number of a process that is no more."""
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


def test_what_a_dead_process_left_is_taken_over(tmp_path):
    (tmp_path / lock.NAME).write_text(f"{ended_process()} {socket.gethostname()}\n")
    with locked(tmp_path):
        assert (tmp_path / lock.NAME).read_text() == f"{os.getpid()} {socket.gethostname()}\n"


@pytest.mark.slow
def test_a_process_that_is_killed_gives_it_back(tmp_path):
    program = (
        "import sys, time, pathlib\n"
        "from flaxcnn.train.lock import locked\n"
        "with locked(pathlib.Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout.readline() == "held\n"
    with pytest.raises(LockedError, match=f"process {process.pid} on"), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(tmp_path):
        pass


@pytest.mark.parametrize(
    ("owner", "free"),
    [
        (lambda: f"{ended_process()} {socket.gethostname()}", True),
        (lambda: f"{os.getppid()} {socket.gethostname()}", False),
        (lambda: f"{ended_process()} another-host", False),
        (lambda: "", True),
        (lambda: "half a wor", True),
    ],
)
def test_without_locks_of_the_file_system_the_owner_is_looked_for(tmp_path, monkeypatch, owner, free):
    def unsupported(*arguments):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr("fcntl.flock", unsupported)
    (tmp_path / lock.NAME).write_text(owner())
    if free:
        with locked(tmp_path), pytest.raises(LockedError), locked(tmp_path):
            pass
    else:
        with pytest.raises(LockedError), locked(tmp_path):
            pass
        assert (tmp_path / lock.NAME).exists()
