"""Where a module's class is written: "file:line", relative to the current folder or to site-packages."""

import functools
import inspect
import sys
from pathlib import Path
from typing import Any

# Files of these packages are between a module's call and the user's line that makes it.
_BETWEEN = ("torch", "jax", "jaxlib", "flax", "jaxtyping", "beartype")
# In these functions of the capture the model itself is called.
_OUTERMOST = ("run", "capture_torch")


@functools.cache
def source_of(kind: type) -> str:
    """The file and line of a class, or "" for a class without source (built in, typed at a prompt)."""
    try:
        path = Path(inspect.getsourcefile(kind) or "")
        line = inspect.getsourcelines(kind)[1]
    except (TypeError, OSError):
        return ""
    return _shown(path, line)


def called_from() -> str:
    """The file and line of the user's code that calls the module under way; "" for the model itself."""
    frame = sys._getframe(1)
    while frame is not None:
        where = _place(frame.f_code.co_filename)
        if where == "capture" and frame.f_code.co_name in _OUTERMOST:
            return ""
        if where == "":
            return _shown(Path(frame.f_code.co_filename), frame.f_lineno)
        frame = frame.f_back
    return ""


@functools.cache
def _place(file: str) -> str:
    """ "capture" for this package, "between" for a framework or for code without a file, "" for the user's."""
    path = Path(file)
    if path.parent == Path(__file__).parent:
        return "capture"
    if file.startswith("<") or path.name in ("functools.py", "contextlib.py"):
        return "between"
    parts = path.parts
    package = parts[parts.index("site-packages") + 1] if "site-packages" in parts else ""
    return "between" if package in _BETWEEN else ""


def _shown(path: Path, line: int) -> str:
    if "site-packages" in path.parts:
        # An installed library: its own path says enough and is the same on every machine.
        return f"{Path(*path.parts[path.parts.index('site-packages') + 1 :])}:{line}"
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def line_of(equation: Any) -> str:
    """The file and line of the user's code that made an operation of a JAX program; "" if it is not known."""
    traceback = equation.source_info.traceback
    for frame in traceback.frames if traceback is not None else ():
        if _place(frame.file_name) == "":
            return _shown(Path(frame.file_name), frame.line_num)
    return ""
