"""Recorded numbers: every study stores a summary as JSON, with the command, machine, versions and date.

A study of many cases also stores its raw records, one JSON object a line, compressed. Tables are made from summaries.
"""

import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from flaxcnn.train.environment import environment
from flaxcnn.train.run_folder import to_json, write_text
from parity.files import written_whole

RESULTS = Path(__file__).parent / "results"
# A summary is read by people, and git keeps each of its versions.
SUMMARY_BYTES = 50_000


def write(name: str, command: str, figures: dict[str, Any]) -> Path:
    """Store the figures of a study as `experiments/results/NAME.json`.

    Args:
        name: of the study.
        command: that anyone can run to measure them again.
        figures: JSON of at most `SUMMARY_BYTES`, which a test holds.
    """
    RESULTS.mkdir(exist_ok=True)
    record = {"command": command, "environment": environment()} | figures
    return write_text(RESULTS / f"{name}.json", compact(to_json(record)))


def compact(text: str) -> str:
    """JSON text with every list of numbers and every object of numbers in one line."""
    # A string holds no line break, so that no string is changed.
    lists = r"\[\n([^\[\]{}\"]+)\n *\]"
    objects = r"\{\n((?: *\"[^\"\n]*\": [-+.\de]+,?\n)+) *\}"
    text = re.sub(lists, lambda match: f"[{' '.join(match[1].split())}]", text)
    return re.sub(
        objects, lambda match: f"{{{' '.join(line.strip() for line in match[1].splitlines())}}}", text
    )


def read(name: str) -> dict[str, Any]:
    """The figures of a study."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def is_stored(name: str) -> bool:
    """Whether the figures of a study are there."""
    return (RESULTS / f"{name}.json").exists()


def write_raw(name: str, records: Iterable[dict[str, Any]]) -> Path:
    """Store the raw records of a study as `experiments/results/NAME.jsonl.gz`; the same records give the same bytes.

    Args:
        name: of the study.
        records: JSON, in an order that a second run repeats.
    """
    path = RESULTS / f"{name}.jsonl.gz"
    # NaN and infinity become null, as in a summary.
    finite = (json.loads(to_json(item)) for item in records)
    text = "".join(json.dumps(item, separators=(",", ":")) + "\n" for item in finite)
    # Neither the time nor the file's name goes into the header.
    with written_whole(path) as stream, gzip.GzipFile("", "wb", 9, stream, mtime=0) as compressed:
        compressed.write(text.encode())
    return path


def read_raw(name: str) -> list[dict[str, Any]]:
    """The raw records of a study; none if it has stored none."""
    path = RESULTS / f"{name}.jsonl.gz"
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def spread(values: list[float]) -> dict[str, float | int]:
    """Mean, sample standard deviation, smallest, largest and number of some values."""
    array = np.asarray(values, np.float64)
    return {
        "mean": float(array.mean()),
        "std": float(array.std(ddof=1)) if len(array) > 1 else 0.0,
        "minimum": float(array.min()),
        "maximum": float(array.max()),
        "n": len(array),
    }
