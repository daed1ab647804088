"""The settings of a run in docs/train.md, made from the fields of `flaxcnn.config`: none is described twice.

python -m experiments.settings_table          write them into docs/train.md
python -m experiments.settings_table --check  fail if docs/train.md shows something else
"""

import argparse
import dataclasses
import re
import sys
from pathlib import Path
from typing import Any

from flaxcnn.config import Config

PAGE = Path(__file__).parents[1] / "docs" / "train.md"
_MARKED = re.compile(r"(<!-- settings -->\n).*?(<!-- end -->)", re.DOTALL)


def main(argv: list[str] | None = None) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(argv)
    text = PAGE.read_text(encoding="utf-8")
    filled = fill(text)
    if options.check:
        if filled != text:
            print(f"{PAGE.name} is stale: run python -m experiments.settings_table", file=sys.stderr)
        return int(filled != text)
    PAGE.write_text(filled, encoding="utf-8")
    return 0


def fill(text: str) -> str:
    """`text` with new tables of settings between their marks."""
    return _MARKED.sub(lambda match: match[1] + sections() + match[2], text)


def sections() -> str:
    """One heading and one table for each section of the configuration."""
    return "\n".join(section(item) for item in dataclasses.fields(Config))


def section(item: dataclasses.Field[Any]) -> str:
    """The table of one section: flag, default, meaning."""
    kind = item.default_factory
    lines = [
        f"### {item.name}",
        "",
        str(kind.__doc__),
        "",
        "| flag | default | meaning |",
        "| --- | --- | --- |",
    ]
    lines += [
        f"| `{flag(field)}` | {default(field)} | {meaning(field)} |" for field in dataclasses.fields(kind)
    ]
    return "\n".join(lines) + "\n"


def flag(field: dataclasses.Field[Any]) -> str:
    """The command's flag of a setting; a setting that is on or off has a second flag."""
    name = field.name.replace("_", "-")
    return f"--{name}`, `--no-{name}" if field.type is bool else f"--{name}"


def default(field: dataclasses.Field[Any]) -> str:
    """The default value of a setting, in words."""
    if field.metadata["shown"]:
        return field.metadata["shown"]
    value = field.default if field.default is not dataclasses.MISSING else field.default_factory()
    if value is None or value == {}:
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return " ".join(f"{item:g}" for item in value) or "none"
    return str(value)


def meaning(field: dataclasses.Field[Any]) -> str:
    """The help text of the flag, fit for a cell."""
    return field.metadata["help"].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
