"""The terminal rendering: what a person must find in ten seconds is there, at any width."""

import dataclasses
import io
import sys

import pytest

from flaxcnn.cli.output import printable
from parity.report import terminal
from parity.report.html import prose
from parity.verdict.record import Cause

WRONG = "layer1.2.conv2"


def test_a_divergence_opens_with_the_verdict_the_place_and_both_sources(make_report):
    lines = terminal.text(make_report(6, WRONG)).splitlines()
    assert lines[0].strip() == f"DIVERGENT   the port first goes wrong at {WRONG} (forward, train mode)"
    opening = "\n".join(lines[:8])
    assert "off by 0.31 of its largest value" in opening
    assert "Rounding explains at most 2.0e-14" in opening
    assert "Worst element [1, 4, 3, 3] of [2, 8, 6, 6]: 1.25 in PyTorch, 2.49 in Flax." in opening
    assert "torch/nn/modules/conv.py:373" in opening and "port/layers.py:41" in opening


def test_causes_and_accepted_differences_say_what_each_side_does(make_report):
    accepted = (Cause("norm-epsilon", "bn1", "epsilon 1e-5", "epsilon 1e-6", ""),)
    text = terminal.text(make_report(1, "fc", accepted=accepted))
    for words in (
        "padding-same-vs-symmetric",
        "pads (0, 1) at stride 2",
        "give padding=",
        "norm-epsilon",
        "epsilon 1e-6",
    ):
        assert words in text
    assert text.count("Fix") == 1, "an empty fix is left out"


def test_a_cause_of_many_layers_is_one_cause_with_its_layers(make_report):
    of_norms = [
        Cause("norm-epsilon", f"layer{i}.bn", "epsilon 1e-5", "epsilon 1e-3", "give 1e-5", f"net.py:{i % 2}")
        for i in range(20)
    ]
    other = Cause("norm-epsilon", "head.bn", "epsilon 1e-5", "epsilon 0", "give 1e-5")
    report = dataclasses.replace(make_report(1, "fc"), causes=(*of_norms, other))
    text = terminal.text(report, width=160)
    assert text.count("norm-epsilon") == 1
    assert (
        "at 21 layers: layer0.bn, layer1.bn, layer2.bn, layer3.bn, layer4.bn, layer5.bn, and 15 more" in text
    )
    assert text.count("epsilon 1e-3") == text.count("epsilon 0") == 1
    assert "at head.bn" in text
    assert "net.py:0, net.py:1" in text
    assert "layer19.bn" in terminal.text(report, width=160, everything=True)
    page = prose.causes(report)[0]
    assert page.count("norm-epsilon") == 1
    assert "at 21 layers" in page
    assert page.count("epsilon 1e-3") == page.count("epsilon 0") == 1
    assert "layer19.bn" in page


def test_equivalent_says_the_margin_and_how_much_was_compared(make_report):
    text = terminal.text(make_report(1))
    assert "EQUIVALENT" in text and "smallest safety margin 14.3x" in text
    assert "7 layers and 7 segments between layers compared in train and eval mode" in text
    assert "20 of 20 parameters and 11 of 11 layers exercised" in " ".join(text.split())


def test_inconclusive_says_what_to_change(make_report):
    text = terminal.text(make_report(1, verdict="inconclusive"))
    assert "INCONCLUSIVE" in text
    assert "fc.bias: its gradient is zero everywhere; give the head random weights" in text


def test_a_long_model_is_folded_around_the_divergence_and_all_unfolds_it(make_report):
    report = make_report(60, "layer1.30.conv2")
    folded = terminal.text(report).splitlines()
    assert len(folded) < 60
    shown = "\n".join(folded)
    assert "layer1.30" in shown and "layer1.10" not in shown
    whole = terminal.text(report, everything=True)
    assert all(f"layer1.{block}\n" in whole for block in range(60)), "--all shows every container"
    assert "⋯" not in whole


def test_remarks_beyond_the_first_are_counted_until_everything_is_asked_for(make_report):
    report = make_report(1)
    many = dataclasses.replace(
        report, notes=tuple(dataclasses.replace(report.notes[0], layer=f"bn{i}") for i in range(20))
    )
    assert "and 12 more (--all shows them)" in terminal.text(many)
    assert "bn19" in terminal.text(many, everything=True)


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_at_any_width(make_report, width):
    lines = terminal.text(make_report(2, "layer1.0.conv2"), width=width).splitlines()
    assert max(map(len, lines)) <= width
    (row,) = [line for line in lines if line.startswith("✗   conv2") and "6.5e-14x" in line][:1]
    assert row.split()[-6:][0] == "0.31"


def test_a_divergence_of_structure_without_numbers_is_told_in_words(make_report):
    report = make_report(1, "fc")
    structural = dataclasses.replace(
        report, first_divergence=dataclasses.replace(report.first_divergence, quantity="bias")
    )
    assert "It is seen in: bias." in terminal.text(structural)


def test_the_second_call_of_a_module_is_marked(make_report):
    report = make_report(1)
    first = report.layers[1]
    again = dataclasses.replace(first, entry=dataclasses.replace(first.entry, call=1))
    assert "conv1 (call 2)" in terminal.text(dataclasses.replace(report, layers=(*report.layers, again)))


def test_names_in_brackets_and_an_ascii_output_lose_nothing(make_report, monkeypatch):
    """A layer's name is not markup, and a mark that the output lacks has a stand-in."""
    cause = Cause("norm-epsilon", "[red]bn:cat:", "epsilon 1e-5", "epsilon [b]1e-6", "")
    report = make_report(1, "layer1.0.conv2", accepted=(cause,))
    taken = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)
    monkeypatch.setattr(sys, "stdout", taken)
    with printable():
        terminal.show(report)
    out = taken.buffer.getvalue().decode("ascii")
    assert "at [red]bn:cat:" in out and "epsilon [b]1e-6" in out
    assert all(f"\n{mark} " in out for mark in "+v")
