"""How much memory there is, and giving back what is no longer used."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, or None where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def release_memory() -> None:
    """Collect cycles (JAX's traces hold each other, and with them weights), and return freed pages."""
    gc.collect()
    return_freed_pages()


def return_freed_pages() -> None:
    """Give freed pages back to the system.

    glibc keeps freed blocks of a few megabytes, the size of activations, in its heaps; at large models they
    add up to more than what is alive.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextlib.contextmanager
def old_objects_aside() -> Iterator[None]:
    """Leave what exists already out of the collections inside: the modules of torch and jax alone take 0.3 s each."""
    if gc.get_freeze_count():
        yield  # an outer context has done it, or the user's program, whose choice it is to undo
        return
    # Garbage too: looking for it first would take as long as what is saved, and it is collected later.
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
