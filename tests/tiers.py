"""Which tests run when: `--tier check`, `test` (the default) or `exhaustive`, and today's draw.

`check` is for every save and leaves out what is marked slow; `test` is what every submission must pass;
`exhaustive` is everything. What is marked `drawn` takes turns in `test`: each day of four weeks has its share,
so that a month of submissions runs all of it. The date decides, is printed, and can be given again.
"""

import datetime
import hashlib
from collections import Counter, defaultdict
from pathlib import Path

import pytest

DAYS = 28
# What each tier leaves out, by the tests' markers; of `drawn`, `test` keeps the day's share.
LEFT_OUT = {
    "check": ("slow", "drawn", "exhaustive"),
    "test": ("drawn", "exhaustive"),
    "exhaustive": (),
}

# The tier of this session, for what must know it while test files are imported.
running = {"tier": "test"}


def day(draw):
    """Give the number of the draw, from 0 to 27, of an ISO date or a whole number."""
    number = int(draw) if draw.isdigit() else datetime.date.fromisoformat(draw).toordinal()
    return number % DAYS


def number(text):
    """Give a number that is the same in every process and on every machine, unlike hash()."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def turns(names):
    """Give every drawn test its day.

    In the order of their hashes, a file's tests take one day after another from a day of the file's own: no two
    of a file's fall on one day before all days have one, and 28 days in a row run them all.
    """
    files = defaultdict(list)
    for name in names:
        files[name.split("::")[0]].append(name)
    return {
        name: (number(file) + place) % DAYS
        for file, members in files.items()
        for place, name in enumerate(sorted(members, key=number))
    }


def select(tests, tier, draw, named=()):
    """Give the names of the tests that run. `tests` has every test's markers by its name."""
    left_out = set(LEFT_OUT[tier])
    due = turns([name for name, markers in tests.items() if "drawn" in markers])
    runs = set(named)
    for name, markers in tests.items():
        reasons = left_out & set(markers)
        if tier == "test" and due.get(name) == day(draw):
            reasons.discard("drawn")
        if not reasons:
            runs.add(name)
    return runs


def is_named(name, arguments):
    """Whether the command line gave a test's own name, or that of its function or class."""
    return any(name == one or name.startswith((one + "[", one + "::")) for one in arguments)


def named_on_command_line(config):
    """Give the arguments that name tests, not files, as their names are written: from the root folder."""
    for argument in config.args:
        path, *rest = argument.split("::")
        if rest:
            path = Path(config.invocation_params.dir, path).resolve()
            yield "::".join([path.relative_to(config.rootpath.resolve()).as_posix(), *rest])


def examples(count, shapes=3):
    """Give how many examples hypothesis makes up: `count` in `make exhaustive`.

    Elsewhere `shapes`, for tests that compile a program for each: there a table of @example has what matters.
    """
    return count if running["tier"] == "exhaustive" else min(shapes, count)


class Tiers:
    """Leaves tests out, and says how many and how to run the same again."""

    def __init__(self, config):
        self.tier, self.draw = config.option.tier, config.option.draw
        self.left_out = Counter()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        """Before -k and -m, so that a test's day does not hang on them."""
        tests = {item.nodeid: [marker.name for marker in item.iter_markers()] for item in items}
        given = list(named_on_command_line(config))
        runs = select(tests, self.tier, self.draw, [name for name in tests if is_named(name, given)])
        rest = [item for item in items if item.nodeid not in runs]
        for item in rest:
            markers = tests[item.nodeid]
            self.left_out[next(m for m in ("exhaustive", "drawn", "slow") if m in markers)] += 1
        items[:] = [item for item in items if item.nodeid in runs]
        config.hook.pytest_deselected(items=rest)

    def pytest_sessionfinish(self, session):
        """A worker's selection is seen by no one else: send it along."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["left_out"] = dict(self.left_out)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """Every worker selects the same, so one of them tells."""
        self.left_out = Counter(getattr(node, "workeroutput", {}).get("left_out", self.left_out))

    def pytest_sessionstart(self, session):
        """Say what runs: by hand, since `-q` drops pytest's own header."""
        if reporter := session.config.pluginmanager.get_plugin("terminalreporter"):
            reporter.write_line(header(self.tier, self.draw))

    def pytest_terminal_summary(self, terminalreporter):
        """Say how many did not run: what workers deselect, pytest does not count."""
        counts = ", ".join(f"{count} {marker}" for marker, count in sorted(self.left_out.items()))
        terminalreporter.write_line(f"{header(self.tier, self.draw)}; left out: {counts or 'nothing'}")


def header(tier, draw):
    """Give the line that says what runs, and how to draw the same again."""
    if tier != "test":
        return f"tier {tier}"
    return f"tier {tier}, draw {day(draw)} of {DAYS} (the same again: pytest --tier {tier} --draw {draw})"


def pytest_addoption(parser):
    """The options."""
    group = parser.getgroup("tiers")
    group.addoption("--tier", choices=list(LEFT_OUT), default="test", help="which tests run (default: test)")
    group.addoption(
        "--draw",
        metavar="DATE",
        default=None,
        help="the date (or a whole number) whose share of the drawn tests `--tier test` runs; default: today",
    )


def pytest_configure(config):
    """The main process fixes the date, so that workers started around midnight agree."""
    if config.option.draw is None:
        config.option.draw = datetime.date.today().isoformat()
    try:
        day(config.option.draw)
    except ValueError:
        raise pytest.UsageError(
            f"--draw {config.option.draw} is neither a date like 2026-01-31 nor a whole number"
        ) from None
    running["tier"] = config.option.tier
    config.pluginmanager.register(Tiers(config))
