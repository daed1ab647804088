"""How much memory there is, and giving back what is no longer used."""

import contextlib
import ctypes
import gc
from pathlib import Path


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping, or None where the system does not tell."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def release_memory() -> None:
    """Collect cycles (JAX's tracers hold each other, and with them activations), and return freed pages.

    glibc keeps freed blocks of a few megabytes, the size of activations, in its heaps; at large models they
    add up to more than what is alive.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
