"""One process at a time trains in a run folder."""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from flaxcnn.errors import FlaxcnnError

NAME = ".lock"


class LockedError(FlaxcnnError):
    """Another process trains in the run folder; one sentence says which."""


@contextlib.contextmanager
def locked(folder: Path, name: str = NAME) -> Iterator[None]:
    """Hold a run folder inside. The system gives the lock back when the process ends, however it ends.

    The file says which process and host hold it, for people; what is left of a process that was killed is taken over.

    Args:
        folder: the run folder, or what else only one may hold.
        name: of the lock's file in it.

    Raises:
        LockedError: another process, or another run of this one, holds it.
        OSError: the folder cannot be written.
    """
    path = folder / name
    descriptor = _opened_and_locked(path)
    try:
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode())
        yield
    finally:
        try:
            # Deleted while it is still held: who opened it meanwhile finds that it is another file now.
            with contextlib.suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)


def _opened_and_locked(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _take(descriptor):
                raise _held(path)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    """Lock an open file; False if another process has."""
    try:
        import fcntl
    except ImportError:  # Windows, where the file alone has to do
        return _owner_is_gone(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        # A file system that knows no locks, as some network ones.
        return _owner_is_gone(descriptor)
    return True


def _owner_is_gone(descriptor: int) -> bool:
    """Whether the process that the file names has ended, as far as can be known: on another host it has not."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    words = os.read(descriptor, 1000).decode(errors="replace").split()
    if len(words) < 2 or not words[0].isdigit():
        return True
    if words[1] != socket.gethostname() or int(words[0]) == os.getpid():
        return False
    try:
        os.kill(int(words[0]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _held(path: Path) -> LockedError:
    words = path.read_text(errors="replace").split() if path.exists() else []
    owner = f"process {words[0]} on {words[1]}" if len(words) >= 2 else "another process"
    return LockedError(
        f"The run in {path.parent} is being trained by {owner}; wait until it ends, or stop it first."
    )
