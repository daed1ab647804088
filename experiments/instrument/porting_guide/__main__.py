"""Write the page "How a port goes wrong", or check it.

python -m experiments.instrument.porting_guide          write docs/how-a-port-goes-wrong.md
python -m experiments.instrument.porting_guide --check  fail if the page is not up to date
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.instrument.porting_guide.page import COMMAND, PAGE, page
from parity.files import write_text


def main(arguments: Sequence[str] | None = None, path: Path = PAGE) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    options = parser.parse_args(arguments)
    text = page()
    if not options.check:
        write_text(path, text)
        return 0
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return 0
    print(f"{path.name} does not show the words and the stored results: run {COMMAND}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
