"""The README shows what is stored: no figure in it is written by hand."""

import json

import pytest

from experiments import record, tables


@pytest.mark.slow
def test_the_readme_shows_the_stored_results():
    text = tables.README.read_text()
    assert tables.fill(text) == text, "run python -m experiments.tables"
    assert "<!-- table: accuracy -->" in text


def test_every_result_names_its_command_machine_versions_and_date():
    stored = sorted(record.RESULTS.glob("*.json"))
    assert stored
    for path in stored:
        result = json.loads(path.read_text())
        assert result["command"].startswith("python -m experiments."), path.name
        assert result["environment"].keys() >= {"processor", "cores", "python", "versions", "date"}, path.name


def test_spread_is_mean_and_sample_deviation():
    assert record.spread([1.0, 2.0, 4.0]) == pytest.approx(
        {"mean": 7 / 3, "deviation": 1.5275252316519465, "minimum": 1.0, "maximum": 4.0, "n": 3}
    )
    assert record.spread([2.0])["deviation"] == 0.0
