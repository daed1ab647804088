"""Where a test run's time goes: `--costs` prints it by folder and by cause, `--costs-json FILE` keeps every test.

Most of this suite's time is not arithmetic but what comes before it: importing libraries, tracing Python into
programs, lowering and compiling these. JAX says when it traces, lowers and compiles; imports are timed here;
the rest of a test's time is called `run`.
"""

import builtins
import contextlib
import json
import os
import time
from collections import defaultdict
from pathlib import Path

import jax
import pytest

CAUSES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "lower",
    "/jax/core/compile/backend_compile_duration": "compile",
}
COLUMNS = ("tests", "processor", "wall", "import", "trace", "lower", "compile", "run", "programs")


class Meter:
    """Adds up seconds by cause; a span within another counts once, for the inner one."""

    def __init__(self):
        self.seconds = defaultdict(float)
        self.finished = []

    def span(self, cause, start, end):
        """Count a span that has just ended. Spans end inside out, so those that it encloses are known."""
        inside = 0.0
        while self.finished and self.finished[-1][0] >= start:
            begun, ended = self.finished.pop()
            inside += ended - begun
        self.finished.append((start, end))
        self.seconds[cause] += end - start - inside

    def take(self):
        """Give what was counted since the last time."""
        taken, self.seconds, self.finished = dict(self.seconds), defaultdict(float), []
        return taken


def processor_seconds():
    """Give what this process and the children it waited for have used of the processor."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


@contextlib.contextmanager
def watching_jax(meter):
    """Count what JAX says of its own work; one compilation is one program."""

    def listen(event, start, end, **_):
        if cause := CAUSES.get(event):
            meter.span(cause, start, end)
            meter.seconds["programs"] += cause == "compile"

    jax.monitoring.register_event_time_span_listener(listen)
    try:
        yield
    finally:
        jax.monitoring.unregister_event_time_span_listener(listen)


@contextlib.contextmanager
def watching_imports(meter):
    """Time import statements: the outermost only, what it pulls in belongs to it."""
    original, depth = builtins.__import__, 0

    def timed(*arguments, **options):
        nonlocal depth
        if depth:
            return original(*arguments, **options)
        depth, start = 1, time.time()
        try:
            return original(*arguments, **options)
        finally:
            depth, end = 0, time.time()
            if end - start > 1e-3:
                meter.span("import", start, end)

    builtins.__import__ = timed
    try:
        yield
    finally:
        builtins.__import__ = original


class Recorder:
    """Runs where the tests run: puts a test's cost into its report, which xdist carries to the main process."""

    def __init__(self):
        self.meter = Meter()
        self.collecting = {}
        self.watching = contextlib.ExitStack()
        self.watching.enter_context(watching_imports(self.meter))
        self.watching.enter_context(watching_jax(self.meter))
        self.mark()

    def pytest_unconfigure(self):
        """Leave nothing behind."""
        self.watching.close()

    def mark(self):
        """Begin to count anew."""
        self.meter.take()
        self.wall, self.processor = time.time(), processor_seconds()

    def costs(self):
        """Give what was spent since the last mark, by cause; what no cause explains is `run`."""
        counted = self.meter.take()
        spent = {
            "wall": time.time() - self.wall,
            "processor": processor_seconds() - self.processor,
            **counted,
        }
        named = sum(counted.get(cause, 0.0) for cause in ("import", "trace", "lower", "compile"))
        spent["run"] = spent["wall"] - named
        self.mark()
        return {cause: round(value, 4) for cause, value in spent.items()}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self):
        """What happened between two tests belongs to neither."""
        self.mark()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self):
        """A report is made after setup, call and teardown: each carries its part."""
        report = yield
        report.costs = self.costs()
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        """Collecting a file imports it, and what it imports."""
        if not isinstance(collector, pytest.Module):
            return (yield)
        self.mark()
        report = yield
        self.collecting[collector.nodeid] = self.costs()
        return report

    def pytest_sessionfinish(self, session):
        """A worker's collection is seen by no one else: send it along."""
        if hasattr(session.config, "workeroutput"):
            session.config.workeroutput["collecting"] = self.collecting


def table(costs, key):
    """Add costs up by key(name) and lay them out, the dearest first; `costs` has a mapping for each name."""
    rows = defaultdict(lambda: defaultdict(float))
    for name, spent in costs.items():
        for row in (key(name), "all"):
            rows[row]["tests"] += "::" in name
            for cause, value in spent.items():
                rows[row][cause] += value
    ordered = sorted(rows, key=lambda row: (row == "all", -rows[row]["processor"]))
    width = max([len(row) for row in ordered] + [6])
    lines = [" " * width + "".join(f"{column:>11}" for column in COLUMNS)]
    lines += [
        row.ljust(width) + "".join(f"{rows[row][column]:11.0f}" for column in COLUMNS) for row in ordered
    ]
    return "\n".join(lines)


def folder(name):
    """Give a test's package and the room in it: tests/flaxcnn/ops."""
    parts = Path(name.split("::")[0]).parent.parts
    return "/".join(parts[:3]) or "."


class Summary:
    """Runs in the main process: adds the reports up and prints them."""

    def __init__(self, file, recorder):
        self.file = file
        self.recorder = recorder
        self.costs = defaultdict(lambda: defaultdict(float))

    def add(self, costs):
        """Add costs by name and cause."""
        for name, spent in costs.items():
            for cause, value in spent.items():
                self.costs[name][cause] += value

    def pytest_runtest_logreport(self, report):
        """Add a phase of a test."""
        self.add({report.nodeid: getattr(report, "costs", {})})

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node):
        """Add what a worker's collection took."""
        self.add(getattr(node, "workeroutput", {}).get("collecting", {}))

    def pytest_terminal_summary(self, terminalreporter):
        """Print the table and keep the numbers."""
        self.add(self.recorder.collecting)
        terminalreporter.write_sep("=", "seconds by folder and cause")
        terminalreporter.write_line(table(self.costs, folder))
        if self.file:
            Path(self.file).write_text(json.dumps(self.costs, indent=1, sort_keys=True) + "\n")


def pytest_addoption(parser):
    """The options."""
    group = parser.getgroup("costs")
    group.addoption("--costs", action="store_true", help="print where the time goes, by folder and by cause")
    group.addoption("--costs-json", metavar="FILE", help="the same, and every test's costs in this file")


def pytest_configure(config):
    """Record where tests run, sum up where reports arrive: the same process without xdist."""
    if not (config.option.costs or config.option.costs_json):
        return
    recorder = Recorder()
    config.pluginmanager.register(recorder)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(config.option.costs_json, recorder))
