"""Results are kept small in git, and raw records come back as they were written."""

import gzip
import json

from experiments import record

LIMIT = 50_000  # bytes of a summary


def test_every_summary_in_git_is_small():
    summaries = sorted(record.RESULTS.glob("*.json"))
    assert summaries
    assert {file.name: file.stat().st_size for file in summaries if file.stat().st_size > LIMIT} == {}


def test_raw_records_are_compressed_one_object_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    records = [{"name": "a", "seconds": 0.1}, {"name": "b", "seconds": None}]
    path = record.write_raw("study", records)
    with gzip.open(path, "rt") as lines:
        assert [json.loads(line) for line in lines] == records
    assert record.read_raw("study") == records


def test_a_summary_reads_back_with_its_command_and_environment(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.write("study", "python -m experiments.study", {"gaps": [0.1, 1e-17], "none": None})
    stored = record.read("study")
    assert stored["gaps"] == [0.1, 1e-17]
    assert stored["none"] is None
    assert stored["command"] == "python -m experiments.study"
    assert {"date", "processor", "cores", "versions"} <= set(stored["environment"])
