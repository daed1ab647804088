"""Where a module's class is written: "file:line", relative to the current folder or to site-packages."""

import functools
import inspect
from pathlib import Path


@functools.cache
def source_of(kind: type) -> str:
    """The file and line of a class, or "" for a class without source (built in, typed at a prompt)."""
    try:
        path = Path(inspect.getsourcefile(kind) or "")
        line = inspect.getsourcelines(kind)[1]
    except (TypeError, OSError):
        return ""
    if "site-packages" in path.parts:
        # An installed library: its own path says enough and is the same on every machine.
        return f"{Path(*path.parts[path.parts.index('site-packages') + 1 :])}:{line}"
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"
