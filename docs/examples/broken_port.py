"""The printed lines of a broken port in the README: those of a real `parity check`, not written by hand.

    python docs/examples/broken_port.py          write them into README.md
    python docs/examples/broken_port.py --check  fail if README.md shows something else

Digits are not compared: another processor rounds otherwise.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
README = HERE.parents[1] / "README.md"
CHECK = ["check", "--torch", "ported:torch_net", "--flax", "ported:flax_net", "--input", "4x3x32x32"]
OPTIONS = ["--mode", "eval"]
BLOCK = re.compile(r"(<!-- output: broken_port -->\n).*?(<!-- end -->)", re.DOTALL)
# The command is an entry point, which this runs without having it on the path.
PARITY = [sys.executable, "-c", "import sys; from parity.cli.main import main; sys.exit(main())"]


def main() -> int:
    """Write or check the lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = README.read_text(encoding="utf-8")
    filled = BLOCK.sub(lambda found: found[1] + block() + found[2], text)
    if options.check:
        stale = without_digits(filled) != without_digits(text)
        if stale:
            print("README.md shows other lines: run python docs/examples/broken_port.py", file=sys.stderr)
        return int(stale)
    README.write_text(filled, encoding="utf-8")
    return 0


def block() -> str:
    """Give the command and what it prints up to the named cause, as a fenced block."""
    shown = " ".join(["parity", *CHECK, *OPTIONS])
    return f"```console\n$ {shown}\n{printed()}\n```\n"


def printed() -> str:
    """Run the check, in a process of its own as a user does; give its lines up to the first remark."""
    paths = [str(HERE), str(HERE.parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "COLUMNS": "120", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [*PARITY, *CHECK, *OPTIONS], capture_output=True, text=True, env=environment, cwd=HERE, check=False
    )
    if done.returncode != 1:
        raise SystemExit(f"The broken port was not found divergent: {done.stdout}{done.stderr}")
    return done.stdout.partition("\n  note ")[0].rstrip()


def without_digits(text: str) -> str:
    """Give the text with every number replaced, signs and exponents with it."""
    return re.sub(r"-?\d[\d.]*(e[-+]?\d+)?", "#", text)


if __name__ == "__main__":
    sys.exit(main())
