"""JUnit XML as continuous integration reads it."""

import dataclasses
from xml.etree import ElementTree

import pytest

from parity.errors import CannotCompare
from parity.report import junit


@pytest.fixture
def read(tmp_path):
    def read(report):
        return ElementTree.parse(junit.write(report, tmp_path / "new" / "junit.xml")).getroot()

    return read


def cases(root, suite):
    (found,) = [s for s in root if s.get("name") == suite]
    return {(case.get("classname"), case.get("name")): case for case in found}


def test_one_case_a_layer_and_phase_and_the_counts_add_up(read, make_report):
    report = make_report(1)
    root = read(report)
    train = cases(root, "parity.train")
    # 7 layers and 7 segments forward and backward; three batch norms have a state in train mode.
    assert len(train) == 14 * 2 + 3
    assert ("parity.train.layer1.0.bn1", "state") in train
    assert root.get("tests") == str(sum(len(suite) for suite in root))
    assert (root.get("failures"), root.get("errors"), root.get("skipped")) == ("0", "0", "0")


def test_a_divergence_fails_where_it_is_and_what_inherits_it_is_skipped(read, make_report):
    root = read(make_report(1, "layer1.0.conv2"))
    train = cases(root, "parity.train")
    failure = train["parity.train.layer1.0.conv2", "forward"].find("failure")
    assert "introduced 0.31" in failure.get("message") and "port/layers.py:41" in failure.text
    assert train["parity.train.layer1.0.bn2", "forward"].find("skipped") is not None
    assert train["parity.train.layer1.0.conv1", "forward"].find("failure") is None
    cause = cases(root, "parity.causes")["parity.causes.layer1.0.conv2", "padding-same-vs-symmetric"]
    assert "'SAME'" in cause.find("failure").text
    # Forward and backward in two modes, and the cause.
    assert root.get("failures") == "5"


def test_too_little_coverage_is_an_error(read, make_report):
    root = read(make_report(1, verdict="inconclusive"))
    error = cases(root, "parity.coverage")["parity.coverage", "exercised"].find("error")
    assert "fc.bias" in error.text and root.get("errors") == "1"


def test_names_that_xml_cannot_hold_are_cleaned(read, make_report):
    report = make_report(1, "fc")
    cause = dataclasses.replace(report.causes[0], layer="a<b>&\x00", torch="\x1b[31mred")
    root = read(dataclasses.replace(report, causes=(cause,)))
    assert ("parity.causes.a<b>&?", cause.id) in cases(root, "parity.causes")


def test_a_path_that_cannot_be_written_is_one_sentence(tmp_path, make_report):
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCompare, match=r"junit\.xml cannot be written"):
        junit.write(make_report(1), tmp_path / "file" / "junit.xml")
