"""The page on porting holds an entry for every id, and the stored figures."""

import json
import re
from pathlib import Path

import pytest

from experiments import record
from experiments.instrument.defects.baselines import BASELINES, Opinion
from experiments.instrument.defects.evaluate import Result
from experiments.instrument.defects.mutants import NOT_EXPRESSIBLE
from experiments.instrument.defects.oracle import Proof
from experiments.instrument.defects.summary import summarised
from experiments.instrument.porting_guide import page as guide
from experiments.instrument.porting_guide import words
from experiments.instrument.porting_guide.__main__ import main
from parity.errors import CannotCompare
from parity.files import to_plain
from parity.verdict.catalogue import DEFECTS

NAME = "page.md"
ENTRIES = words.words().entries


def test_every_id_of_the_catalogue_has_an_entry_and_no_other():
    assert list(ENTRIES) == list(DEFECTS)
    for id, entry in ENTRIES.items():
        for field in ("torch", "flax", "symptom", "hides", "fix", "code", "shown"):
            assert getattr(entry, field), (id, field)
        assert entry.seen, id


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[ids.channel-order]",
            "[ids.chanel-order]",
            "chanel-order is not in the catalogue, channel-order has none",
        ),
        ('torch = "RGB, as PIL reads it."', "", "channel-order has not the fields"),
        ('torch = "RGB, as PIL', 'colour = ""\ntorch = "RGB, as PIL', "channel-order has not the fields"),
        ('seen = ["rounding"]', 'seen = ["elsewhere"]', "seen in 'elsewhere'"),
    ],
)
def test_words_that_do_not_fit_the_catalogue_are_refused(tmp_path, old, new, message):
    text = words.FILE.read_text()
    assert old in text
    path = tmp_path / "defects.toml"
    path.write_text(text.replace(old, new))
    with pytest.raises(CannotCompare, match=message):
        words.words(path)


def mutant(id, severity, gap, causes, *, verdict="divergent", close=True, equivalent=False, trained=False):
    said = {} if trained else {name: Opinion(not close, "") for name in BASELINES}
    return Result(
        name=f"host/nnx/{id}/{severity}",
        id=id,
        host="host",
        style="nnx",
        depth="late",
        severity=severity,
        held_out=False,
        proof=Proof(equivalent, gap, "output"),
        verdict=verdict,
        locations=("norm",),
        location="norm",
        causes=causes,
        sentence="",
        seconds=1.0,
        baselines=said,
    )


RESULTS = [
    mutant("norm-epsilon", "epsilon 1.001e-5", 3.2e-9, ("norm-epsilon",)),
    mutant("norm-epsilon", "epsilon 1e-3", 0.4, ("bias-missing", "norm-epsilon"), close=False),
    mutant("norm-epsilon", "epsilon 1e-4", 0.04, (), verdict="equivalent", close=False),
    mutant("norm-epsilon", "epsilon 1e-6", 0.0, (), verdict="", equivalent=True),
    mutant("buffer-trained", "a constant scale", float("inf"), ("buffer-trained",)),
    mutant("momentum-form", "Nesterov", 0.1, ("momentum-form",), trained=True),
    mutant("pool-padding-value", "zeros", 0.0, (), verdict="", equivalent=True),
    mutant("", "", 0.0, (), verdict="equivalent"),
]
TRAINED = {
    "id": "momentum-form",
    "planted": "Nesterov",
    "step": 0,
    "layer": "conv1",
    "phase": "update",
    "causes": [["momentum-form", "all layers", "", ""], ["momentum-form", "fc", "", ""]],
}
ENVIRONMENT = {
    "processor": "a processor",
    "cores": 2,
    "python": "3.11.7",
    "versions": {"jax": "0.10.2"},
    "date": "2026-11-24 11:40 UTC",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """No stored study, in a folder for the page."""
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    return tmp_path


def store(folder):
    study = {"command": "python -m experiments.instrument.defects_study", "environment": ENVIRONMENT}
    study |= {"summary": to_plain(summarised(RESULTS))}
    (folder / "defects.json").write_text(json.dumps(study))
    (folder / "trajectories.json").write_text(
        json.dumps({"defects": [TRAINED, TRAINED | {"planted": "mu", "step": None}]})
    )


def section(text, id):
    return text.split(f"### {id}\n")[1].split("\n##")[0]


def test_the_committed_page_shows_what_is_stored():
    assert guide.PAGE.read_text(encoding="utf-8") == guide.page(), f"run {guide.COMMAND}"


def test_the_command_writes_what_the_records_hold(folder):
    store(folder)
    assert main([], folder / NAME) == 0
    text = (folder / NAME).read_text(encoding="utf-8")
    assert section(text, "norm-epsilon").count("**Measured.**") == 1
    assert (
        "- **Measured.** 3 mutants that differ in meaning (1 more was equivalent, and discarded): 2 detected, 2 at "
        "the exact location, 1 with the right first cause. Named first instead: (none) (1), `bias-missing` (1). The "
        "smallest detected: epsilon 1.001e-5, a relative gap of 3e-09 in float64. `torch.testing.assert_close` on the "
        "logits misses 1."
    ) in section(text, "norm-epsilon")
    assert "1 mutant that differs in meaning: 1 detected" in section(text, "buffer-trained")
    assert "a constant scale, other shapes or parameters" in section(text, "buffer-trained")
    training = section(text, "momentum-form")
    assert "misses 1, since it takes no training step." in training
    assert (
        "training on digits, and where it was found: Nesterov (update 1, conv1, named); mu (missed)."
        in training
    )
    assert "1 mutant drawn, none that differs" in section(text, "pool-padding-value")
    assert "0 mutants drawn" in section(text, "flatten-order")
    assert "detects 2 of 5." in text
    assert "Measured on: a processor, 2 cores" in text


def test_without_a_record_the_page_says_so(folder):
    assert main([], folder / NAME) == 0
    text = (folder / NAME).read_text(encoding="utf-8")
    assert "(`python -m experiments.instrument.defects_study`) is not stored yet" in text
    assert text.count("**Measured.** Not yet.") == len(DEFECTS) - len(NOT_EXPRESSIBLE)
    for id, reason in NOT_EXPRESSIBLE.items():
        assert f"Not planted: {reason}." in section(text, id)
    assert "In training" not in text


def test_check_sees_a_stale_page(folder, capsys):
    assert main(["--check"], folder / NAME) == 1
    assert main([], folder / NAME) == 0 and main(["--check"], folder / NAME) == 0
    capsys.readouterr()
    store(folder)
    before = (folder / NAME).read_text(encoding="utf-8")
    assert main(["--check"], folder / NAME) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{NAME} does not show the words and the stored results: run {guide.COMMAND}"
    ]
    assert (folder / NAME).read_text(encoding="utf-8") == before


def test_every_link_of_the_page_leads_somewhere(folder):
    text = guide.page()
    headings = {h.lower().replace(" ", "-") for h in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
    assert set(re.findall(r"\(#([^)]+)\)", text)) <= headings
    assert set(DEFECTS) <= headings
    assert "## Prove" in (Path(__file__).parents[3] / "README.md").read_text()
