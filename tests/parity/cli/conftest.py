"""A folder with factories to import, and a comparison that answers at once."""

import sys
import types

import pytest

import parity
from parity.verdict.judge import judge
from parity.verdict.metrics import Metrics, Worst
from parity.verdict.record import (
    FORMAT_VERSION,
    Coverage,
    Entry,
    Finding,
    Measurements,
    Quantity,
)

FACTORIES = """
import torch
from flax import linen, nnx

def net():
    return torch.nn.Linear(3, 2)

def port():
    return nnx.Linear(3, 2, rngs=nnx.Rngs(0))

def linen_port():
    return linen.Dense(2)

def linen_with_variables():
    return linen.Dense(2), {"params": {}}

def needs(width, depth=2, *, seed):
    return net()

def raises():
    weights = None
    return weights.shape

def leaves():
    raise SystemExit(3)

def number():
    return 7

class Net(torch.nn.Linear):
    def __init__(self):
        super().__init__(3, 2)

MODEL = net()
SIZE = 3
"""


EXTRA_BIAS = Finding("bias-extra", "fc", "forward", "bias", "no bias", "a bias", "use_bias=False")


def metrics(gap):
    return Metrics(
        (2, 3),
        1.0,
        gap,
        gap,
        gap,
        gap,
        1e-7,
        1e-7,
        1e-7,
        0.0,
        1.0,
        2.0,
        1.0,
        Worst((0, 1), 1.0, 1.0),
        "float64",
    )


def measured(gap=1e-16, covered=True, extra_bias=False):
    """Measurements of a model of one layer."""
    findings = (EXTRA_BIAS,) if extra_bias else ()
    quantity = Quantity("output", "forward", metrics(gap), metrics(gap), None)
    entry = Entry(0, "layer", "eval", "fc", "fc", "fc", "Linear", 0, "net.py:3", "port.py:5", (quantity,))
    coverage = Coverage(2, 2 if covered else 1, 1, 1, ())
    return Measurements(FORMAT_VERSION, ("eval",), (entry,), findings, coverage, (), {"torch": "2"})


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, holding the module `factories`."""
    (tmp_path / "factories.py").write_text(FACTORIES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    for name in ("factories", "other"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


@pytest.fixture
def instant(monkeypatch):
    """`parity.check` answers with `instant.measurements` at once, and keeps what it was asked."""

    state = types.SimpleNamespace(measurements=measured(), calls=[], measured=measured)

    def check(torch_model, flax_model, inputs, *, out, policy, accept, **options):
        state.calls.append((torch_model, flax_model, inputs, options | {"policy": policy, "accept": accept}))
        report = judge(state.measurements, policy, accept)
        if out is None:
            return report
        state.measurements.save(out)
        report.save(out)
        return report

    monkeypatch.setattr(parity, "check", check)
    return state


@pytest.fixture
def run(folder, capsys):
    """`run("check", ...) -> (exit code, stdout, stderr)`."""
    from parity.cli import main

    def run(*arguments):
        try:
            code = main(list(arguments))
        except SystemExit as stopped:
            code = stopped.code
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run
