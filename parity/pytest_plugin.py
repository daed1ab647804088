"""Equivalence as a test: the fixture `parity` fails with the report that a person reads.

    def test_port(parity):
        parity(torch_model, flax_model, "2x3x32x32")

`--parity-report DIR` keeps every report (a page, JSON and the measurements) in a folder of its own, named
after the test. Nothing heavy is imported before a test uses the fixture.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from parity.verdict.record import Report


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option `--parity-report`."""
    parser.getgroup("parity").addoption(
        "--parity-report",
        metavar="DIR",
        default=None,
        help="keep the reports of parity checks in this folder",
    )


@pytest.fixture
def parity(request: pytest.FixtureRequest) -> Callable[..., "Report"]:
    """`parity(torch_model, flax_model, inputs, **options) -> Report`, see `parity.check`.

    The test fails unless the verdict is *equivalent*; `inputs` may be a shape as a tuple of numbers.
    """
    folder = request.config.getoption("--parity-report")
    checks = 0

    def compare(torch_model: Any, flax_model: Any, inputs: Any = None, **options: Any) -> "Report":
        __tracebackhide__ = True
        nonlocal checks
        checks += 1
        if folder is not None and "out" not in options:
            number = f"-{checks}" if checks > 1 else ""
            options["out"] = Path(folder) / (_file_name(request.node.nodeid) + number)
        return _proven(torch_model, flax_model, inputs, **options)

    return compare


def _proven(torch_model: Any, flax_model: Any, inputs: Any = None, **options: Any) -> "Report":
    """The report of `parity.check`, which is the message of the assertion if it is not *equivalent*."""
    __tracebackhide__ = True
    from parity import check
    from parity.report import terminal

    if isinstance(inputs, tuple) and inputs and all(isinstance(size, int) for size in inputs):
        inputs = "x".join(map(str, inputs))
    report = check(torch_model, flax_model, inputs, **options)
    out = options.get("out")
    if out is not None:
        _write_page(report, Path(out))
    if report.verdict != "equivalent":
        kept = f"\nKept in {out}: open {Path(out) / 'report.html'}" if out is not None else ""
        raise AssertionError(f"the port is not proven\n{terminal.text(report)}{kept}")
    return report


def _write_page(report: "Report", folder: Path) -> None:
    from parity.report import html, tensors

    html.write(report, folder / "report.html", tensors.load(folder))


def _file_name(nodeid: str) -> str:
    """`tests/test_net.py::test_port[resnet18]` as a file name."""
    return re.sub(r"[^\w.-]+", "-", nodeid.replace("::", "-")).strip("-")
