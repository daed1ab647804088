"""Selects cases by names: of suites, groups or cases, patterns, or `quick`."""

import difflib
import fnmatch
from collections.abc import Sequence

from parity.errors import CannotCompare
from parity.suites.case import Case

QUICK = "quick"


class UnknownName(CannotCompare):
    """A name that selects no case."""


def select(cases: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases that any of the names selects, in their own order; all if no name is given.

    Args:
        cases: all of them.
        names: of a suite (`models`), a group (`conv`), a case (`resnet50`), a pattern (`resnet*`), or `quick`:
            a few cases of everything. `quick` beside other names keeps the few among the cases that those select.

    Raises:
        UnknownName: a name selects nothing; the nearest names are given.
    """
    wanted = [name for name in names if name != QUICK]
    for name in wanted:
        if not any(_matches(case, name) for case in cases):
            raise UnknownName(_refusal(cases, name))
    chosen = [case for case in cases if not wanted or any(_matches(case, name) for name in wanted)]
    return [case for case in chosen if case.quick] if QUICK in names else chosen


def _matches(case: Case, name: str) -> bool:
    return name in (case.suite, case.group) or fnmatch.fnmatchcase(case.name, name)


def _refusal(cases: Sequence[Case], name: str) -> str:
    groups = dict.fromkeys(word for case in cases for word in (case.suite, case.group))
    known = [QUICK, *groups, *(case.name for case in cases)]
    near = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    advice = f"the nearest are {', '.join(near)}" if near else f"there are {', '.join([QUICK, *groups])}"
    return f"No suite, group or case is called {name!r}; {advice}."
