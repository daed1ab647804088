"""Named axes of a mapped model (`axis_name`), bound to size one: the model is compared as it runs on one device."""

import re
from collections.abc import Callable
from typing import TypeVar

_UNBOUND = re.compile(r"unbound axis name: ?'?(\w+)")
_Result = TypeVar("_Result")


def with_axes(axes: list[str], run: Callable[[], _Result]) -> _Result:
    """The result of `run`, which reads `axes`: a name that it finds unbound is added, and it runs again.

    Raises:
        NameError: any other name is missing.
    """
    while True:
        try:
            return run()
        except NameError as error:
            unbound = _UNBOUND.search(str(error))
            if unbound is None or unbound[1] in axes:
                raise
            axes.append(unbound[1])
