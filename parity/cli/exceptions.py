"""An exception of the user's code in a few words."""

import traceback


def described(error: BaseException, within: str | None = None) -> str:
    """An exception in a few words, with the line that raised it (the last one in the file `within`, if any is)."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__} ({error.msg}) at {error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    inside = [frame for frame in frames if within is not None and frame.filename == within]
    where = next(reversed(inside or frames), None)
    text = " ".join(str(error).split())
    place = f" at {where.filename}:{where.lineno}" if where is not None else ""
    return f"{type(error).__name__}{f' ({text})' if text else ''}{place}"
