"""The page: by symptom, by default setting, and an entry for each id."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments import markdown, record
from experiments.instrument.defects.summary import Summary
from experiments.instrument.porting_guide import figures
from experiments.instrument.porting_guide.words import Entry, Words, words
from parity.files import from_plain
from parity.verdict.catalogue import DEFECTS

PAGE = Path(__file__).parents[3] / "docs" / "how-a-port-goes-wrong.md"
COMMAND = "python -m experiments.instrument.porting_guide"

CHANNELS = {
    "F": "Forward",
    "G": "Gradient",
    "S": "State",
    "O": "Optimiser",
    "I": "Initialisation",
    "P": "Precision",
    "D": "Data",
    "W": "Weights",
}


def channel(id: str) -> str:
    """The first channel of an id."""
    return DEFECTS[id][0]


def page() -> str:
    """The page, of the words and of the stored studies."""
    written = words()
    study, trajectories = _stored("defects"), _stored("trajectories")
    summary = from_plain(Summary, study["summary"]) if study else None
    planted = trajectories["defects"] if trajectories else []
    parts = [
        _opening(written),
        figures.opening(study, summary),
        _by_symptom(written),
        _by_default(written),
        _contents(),
    ]
    for letter, name in CHANNELS.items():
        parts.append(f"## {name}")
        parts += [
            _section(id, entry, summary, planted)
            for id, entry in written.entries.items()
            if channel(id) == letter
        ]
    parts.append(f"*Made by `{COMMAND}`; the words are in [`defects.toml`](../parity/verdict/defects.toml).*")
    return "\n\n".join(parts) + "\n"


def _opening(written: Words) -> str:
    logits = {"shape", "evaluation", "training", "input"}
    unseen = sum(not logits & {*entry.seen} for entry in written.entries.values())
    return written.opening.replace("{unseen}", str(unseen)).replace("{all}", str(len(written.entries)))


def _by_symptom(written: Words) -> str:
    body = []
    for key, (symptom, search) in written.seen.items():
        ids = [_link(id) for id, entry in written.entries.items() if key in entry.seen]
        body.append([symptom, ", ".join(ids), search])
    return "## What you see\n\n" + markdown.rows(["you see", "it may be", "find it by"], body)


def _by_default(written: Words) -> str:
    body = []
    for id, entry in written.entries.items():
        torch = [default for default in entry.defaults if default.startswith("torch")]
        flax = [default for default in entry.defaults if not default.startswith("torch")]
        # A default that Linen shares with NNX is shown once.
        flax = [name for name in flax if "linen." not in name or name.replace("linen.", "nnx.") not in flax]
        if entry.defaults:
            body.append([_link(id), _codes(torch), _codes(flax)])
    text = (
        "What an option is when nobody sets it, as the signatures say; the tests hold these against the installed "
        "libraries. Flax's two module styles agree unless `linen` is named apart. An empty side has no such option."
    )
    return f"## Defaults\n\n{text}\n\n" + markdown.rows(["id", "PyTorch", "Flax, optax, JAX"], body)


def _contents() -> str:
    lines = ["## The ids", ""]
    for letter, name in CHANNELS.items():
        ids = ", ".join(_link(id) for id in DEFECTS if channel(id) == letter)
        lines.append(f"- [{name}](#{name.lower()}): {ids}")
    return "\n".join(lines)


def _section(id: str, entry: Entry, summary: Summary | None, planted: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"### {id}\n",
        f"- **PyTorch.** {entry.torch}",
        f"- **The port.** {entry.flax}",
        f"- **You see.** {entry.symptom}",
        f"- **It hides.** {entry.hides}",
        f"- **`parity`.** {entry.shown}",
        f"- **Measured.** {figures.measured(id, summary)}",
        *(f"- **In training.** {text}" for text in [figures.trained(id, planted)] if text),
        f"- **Fix.** {entry.fix}\n\n```python\n{entry.code}\n```",
    ]
    return "\n".join(lines)


def _stored(name: str) -> dict[str, Any] | None:
    return record.read(name) if record.is_stored(name) else None


def _link(id: str) -> str:
    return f"[{id}](#{id})"


def _codes(names: Sequence[str]) -> str:
    return "<br>".join(f"`{name}`" for name in names)
