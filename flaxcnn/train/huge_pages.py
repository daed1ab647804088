"""Large arrays in huge pages, on Linux: fewer page faults, and fewer addresses for the processor to translate.

XLA asks for the memory of a step's intermediate results anew in every step, hundreds of mebibytes, and gives it back.
In pages of 4 KiB each is a fault, in pages of 2 MiB there are five hundred times fewer. Where the system gives huge
pages to those that ask, glibc's malloc asks if it is told to at the start of a process, which is why a command has to
start itself again.

Reference: the manual of glibc, section "Memory Allocation Tunables", glibc.malloc.hugetlb.
"""

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

VARIABLE, _TUNABLE = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_MODE = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def tunables(environment: Mapping[str, str], mode: str | None = None) -> str | None:
    """What `GLIBC_TUNABLES` must be for huge pages; None where that changes nothing, or the user has decided.

    Args:
        environment: of the process.
        mode: what the system says of its huge pages; read from the system when None.
    """
    if mode is None:
        mode = _mode()
    given = environment.get(VARIABLE, "")
    if "[madvise]" not in mode or _TUNABLE in given:
        return None
    return ":".join(filter(None, [given, f"{_TUNABLE}=1"]))


def state(environment: Mapping[str, str], mode: str | None = None) -> dict[str, Any]:
    """Whether `flaxcnn train` has huge pages (`on`), and why (`reason`). Arguments: as of `tunables`."""
    mode = _mode() if mode is None else mode
    given = environment.get(VARIABLE, "")
    if "[always]" in mode:
        return {"on": True, "reason": "the system gives them to all"}
    if "[madvise]" not in mode:
        return {"on": False, "reason": "the system does not give them"}
    if _TUNABLE in given:
        return {"on": f"{_TUNABLE}=0" not in given, "reason": f"{VARIABLE}={given}"}
    return {"on": True, "reason": "the system gives them to those that ask, and the command asks"}


def _mode() -> str:
    if platform.libc_ver()[0] != "glibc":
        return ""
    try:
        return _MODE.read_text()
    except OSError:
        return ""


def restart() -> None:
    """Start this process again with huge pages, as the same command line; return where that changes nothing.

    For commands, before they import what takes long.
    """
    wanted = tunables(os.environ)
    if wanted is not None:
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, VARIABLE: wanted})
