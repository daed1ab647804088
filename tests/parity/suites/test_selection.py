"""The cases that a name selects."""

import pytest

from parity.cli import main
from parity.suites import all_cases
from parity.suites.selection import UnknownName, select

CASES = all_cases()


def names(*wanted):
    return [case.name for case in select(CASES, wanted)]


def test_every_case_has_a_name_of_its_own():
    assert len({case.name for case in CASES}) == len(CASES)
    words = {case.suite for case in CASES} | {case.group for case in CASES} - {"cnn"}
    assert not words & {case.name for case in CASES}


def test_no_name_selects_everything():
    assert names() == [case.name for case in CASES]


def test_a_suite_a_group_a_case_and_a_pattern():
    assert {case.suite for case in select(CASES, ["models"])} == {"models"}
    assert len(names("conv")) == 24
    assert names("resnet50") == ["resnet50"]
    assert names("wide_*") == ["wide_resnet50_2", "wide_resnet101_2"]
    assert names("conv-03", "resnet18") == ["resnet18", "conv-03"], "in the order of the suites"


def test_quick_keeps_a_few_of_everything_or_of_what_is_named():
    quick = select(CASES, ["quick"])
    assert {case.group for case in quick} == {case.group for case in CASES} - {"torchvision"}
    assert names("conv", "quick") == ["conv-01", "conv-02"]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("resnet5", r"called 'resnet5'; the nearest are .*resnet50"),
        ("layer", r"called 'layer'; the nearest are layers"),
        ("§", r"called '§'; there are quick, models, torchvision, .*penalty, .*\."),
        ("vgg*", r"called 'vgg\*'; there are"),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(name, sentence):
    with pytest.raises(UnknownName, match=sentence) as caught:
        names("models", name)
    assert "\n" not in str(caught.value)


def test_the_command_refuses_an_unknown_name(capsys):
    assert main(["suite", "resnet-18"]) == 2
    assert capsys.readouterr().err.startswith("parity: No suite, group or case is called 'resnet-18'")
