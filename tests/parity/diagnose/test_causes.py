"""Defects planted in small hosts: the report names the id, the layer, what each side does, and the fix."""

import pytest
import torch
from flax import nnx
from hosts import LinenOdd, NnxResidual, TorchOdd, TorchResidual
from planted import BLOCK, ODD, RESIDUAL

import parity

KNOWN = ("bn-running-var-bias",)


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def residual(accept=KNOWN, **planted):
    mode = planted.pop("run", "eval")
    return parity.check(TorchResidual(), NnxResidual(**planted), "2x3x16x16", mode=mode, accept=accept)


def odd(mode="eval", **planted):
    return parity.check(TorchOdd(), LinenOdd(**planted), "2x4x4x4", mode=mode)


def causes(report):
    return [(c.id, c.layer, c.torch, c.flax, c.fix) for c in report.causes]


def unexplained(report):
    return [note for note in report.notes if note.kind in ("unexplained", "convention")]


# One of a kind runs daily; the study of planted defects (tests/experiments/instrument/defects) has all of them in
# many hosts.
QUICK = ("two in one layer",)
DAILY = ("stride placement", "shortcut detached", "pooling value")


def tier(name):
    return [pytest.mark.slow] if name in DAILY else [] if name in QUICK else [pytest.mark.drawn]


@pytest.mark.parametrize("name", [pytest.param(name, marks=tier(name)) for name in RESIDUAL])
def test_a_planted_defect_is_named_with_both_conventions_and_the_fix(name):
    planted, expected = RESIDUAL[name]
    report = residual(**planted)
    assert report.verdict == "divergent"
    assert causes(report) == expected
    assert unexplained(report) == []


def test_a_right_port_has_no_cause_and_nothing_unexplained():
    report = residual(run="both")
    assert report.verdict == "equivalent"
    assert causes(report) == unexplained(report) == []


@pytest.mark.parametrize(
    "name", [name if name == "corners" else pytest.param(name, marks=pytest.mark.drawn) for name in ODD]
)
def test_a_defect_planted_in_a_linen_model_is_named(name):
    planted, expected = ODD[name]
    report = odd(**planted)
    assert causes(report) == [expected]
    assert unexplained(report) == []


@pytest.mark.slow
def test_a_right_linen_port_has_no_cause():
    report = odd(mode="train")
    assert report.verdict == "equivalent"
    assert causes(report) == unexplained(report) == []


@pytest.mark.slow
def test_a_nonsense_change_stays_unexplained_and_its_pattern_is_described():
    report = odd(nonsense=True)
    assert report.verdict == "divergent"
    assert causes(report) == []
    message = next(n.message for n in unexplained(report) if n.layer == "mix -> dropout")
    assert message.startswith("input: ")
    assert "in channels 1, 2, 3 only" in message


@pytest.mark.slow
def test_other_groups_of_a_norm_are_said_without_an_id():
    report = odd(groups=4)
    assert causes(report) == []
    assert [(n.kind, n.layer) for n in unexplained(report)] == [("convention", "gn")]
    assert "2 groups of channels" in unexplained(report)[0].message


@pytest.mark.slow
def test_independent_defects_are_all_listed_in_order_of_execution():
    report = residual(pool="side", epsilon=1e-3, padding="SAME", approximate=True, activation=nnx.sigmoid)
    assert [(c.id, c.layer) for c in report.causes] == [
        ("pool-padding-side", "stem -> block1.conv1"),
        ("norm-epsilon", "block1.bn1"),
        ("norm-epsilon", "block2.bn1"),
        ("padding-same-vs-symmetric", "block2.conv2"),
        ("gelu-approximation", "last -> fc"),
        ("activation-kind", "fc -> out"),
    ]
    assert report.first_divergence.layer == "stem -> block1.conv1"


@pytest.mark.slow
def test_other_independent_defects_are_all_listed_too():
    report = residual(
        normalise=True, reading="turned", residual="order", mode=False, counted=False, softmax=True
    )
    assert [(c.id, c.layer) for c in report.causes] == [
        ("preprocess-normalise", "input -> stem"),
        ("bn-mode", "block1.bn1"),
        ("residual-order", BLOCK),
        ("bn-mode", "block2.bn1"),
        ("kernel-spatial-transpose", "block2.conv2"),
        ("pool-count-include-pad", "block2 -> last"),
        ("softmax-twice", "out -> output"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("pooling side", marks=pytest.mark.slow),
        *(
            pytest.param(name, marks=pytest.mark.drawn)
            for name in ("padding", "GELU", "epsilon, twice", "ReLU before the sum")
        ),
    ],
)
def test_an_accepted_cause_excuses_all_that_follows_from_it(name):
    planted, expected = RESIDUAL[name]
    report = residual(accept=(*KNOWN, expected[0][0]), **planted)
    assert report.verdict == "equivalent", report.summary()
    assert report.causes == ()
    assert {c.id for c in report.accepted} == {expected[0][0]}


@pytest.mark.slow
def test_one_accepted_cause_of_two_in_a_layer_excuses_nothing():
    report = residual(accept=(*KNOWN, "bias-missing"), padding="SAME", bias=False)
    assert report.verdict == "divergent"
    assert [c.id for c in report.causes] == ["padding-same-vs-symmetric"]
    assert [c.id for c in report.accepted] == ["bias-missing"]


@pytest.mark.slow
def test_the_wrong_mode_explains_the_state_too():
    report = residual(run="train", mode=True)
    assert {(c.id, c.layer) for c in report.causes} == {("bn-mode", "block1.bn1"), ("bn-mode", "block2.bn1")}


@pytest.mark.slow
def test_the_line_of_the_users_call_is_given():
    (cause,) = residual(padding="SAME").causes
    file, _, line = cause.code.rpartition(":")
    assert file.endswith("hosts.py")
    with open(file) as stream:
        assert "self.conv2(y)" in stream.read().splitlines()[int(line) - 1]


@pytest.mark.slow
def test_a_lenient_policy_that_excuses_the_quantity_drops_the_cause(tmp_path):
    from parity.verdict.judge import judge

    parity.check(
        TorchResidual(), NnxResidual(epsilon=1.001e-5), "2x3x16x16", mode="eval", accept=KNOWN, out=tmp_path
    )
    measurements = parity.Measurements.load(tmp_path)
    assert [c.id for c in judge(measurements, accept=KNOWN).causes] == ["norm-epsilon", "norm-epsilon"]
    report = judge(measurements, parity.Policy(safety_factor=1e12), accept=KNOWN)
    assert report.verdict == "equivalent"
    assert report.causes == ()
