"""The documents show what is stored: no figure in them is written by hand."""

import json
import re

import pytest

from experiments import record, tables


@pytest.mark.slow
def test_the_documents_show_the_stored_results_and_every_table():
    shown = set()
    for page in tables.documents():
        text = page.read_text()
        assert tables.fill(text) == text, f"{page.name}: run python -m experiments.tables"
        shown |= set(re.findall(r"<!-- table: (\w+) -->", text))
    assert shown == set(tables.TABLES)


def test_every_result_names_its_command_machine_versions_and_date():
    stored = sorted(record.RESULTS.glob("*.json"))
    assert stored
    for path in stored:
        result = json.loads(path.read_text())
        assert result["command"].startswith("python -m experiments."), path.name
        assert result["environment"].keys() >= {"processor", "cores", "python", "versions", "date"}, path.name


def test_spread_is_mean_and_sample_std():
    assert record.spread([1.0, 2.0, 4.0]) == pytest.approx(
        {"mean": 7 / 3, "std": 1.5275252316519465, "minimum": 1.0, "maximum": 4.0, "n": 3}
    )
    assert record.spread([2.0])["std"] == 0.0
