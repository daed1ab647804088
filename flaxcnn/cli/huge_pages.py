"""Large arrays in huge pages, on Linux: fewer page faults, and fewer addresses for the processor to translate.

In every step XLA allocates hundreds of mebibytes for intermediate results and frees them again. The first touch of a
page is a fault; pages of 2 MiB make five hundred times fewer faults than pages of 4 KiB. Where the system gives huge
pages to processes that ask, glibc's malloc asks for them if a variable of the environment said so when the process
started. So `flaxcnn train` starts itself again with that variable, unless it is given `--huge-pages off`.
`python -m experiments.performance.huge_pages` measures the gain.

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
    """The value of `GLIBC_TUNABLES` that brings huge pages; None where it would change nothing or the user has set it.

    Args:
        environment: of the process.
        mode: the text in which Linux names its mode, for example "always [madvise] never"; read from it when None.
    """
    if mode is None:
        mode = _mode()
    given = environment.get(VARIABLE, "")
    if "[madvise]" not in mode or _TUNABLE in given:
        return None
    return ":".join(filter(None, [given, f"{_TUNABLE}=1"]))


def state(environment: Mapping[str, str], mode: str | None = None) -> dict[str, Any]:
    """Whether `flaxcnn train` has huge pages (`on`), and why (`reason`); see `tunables` for the arguments."""
    mode = _mode() if mode is None else mode
    given = environment.get(VARIABLE, "")
    if "[always]" in mode:
        return {"on": True, "reason": "the system gives them to all"}
    if "[madvise]" not in mode:
        return {"on": False, "reason": "the system does not give them"}
    if _TUNABLE in given:
        return {"on": f"{_TUNABLE}=0" not in given, "reason": f"{VARIABLE}={given}"}
    return {"on": True, "reason": "the system gives them to processes that ask, and flaxcnn train asks"}


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
