"""Reads the command line, runs a subcommand, and turns every refusal into one sentence.

Nothing heavy is imported before the arguments are known to be good, so that `--help` answers at once.

Exit codes: 0 equivalent (or done); 1 divergent (or different); 2 cannot compare, or the command line is wrong;
3 inconclusive; 130 Ctrl-C.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from parity.cli import arguments
from parity.cli.defects import add_defects
from parity.cli.equivalence import add_equivalence
from parity.cli.exceptions import described
from parity.errors import CannotCompare

CANNOT_COMPARE = 2


class _Parser(argparse.ArgumentParser):
    """A parser whose refusals are one sentence."""

    def error(self, message: str) -> NoReturn:
        self.exit(CANNOT_COMPARE, f"{self.prog}: {message} (see {self.prog} --help)\n")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root = _Parser(
        prog="parity",
        description="Prove a Flax model equal to its PyTorch twin, layer by layer, or find where it is not.",
        epilog="Exit codes: 0 equivalent, 1 divergent, 2 cannot compare, 3 inconclusive.",
    )
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments.add_check(commands)
    arguments.add_capture(commands)
    arguments.add_show(commands)
    arguments.add_convert(commands)
    arguments.add_suite(commands)
    arguments.add_train(commands)
    add_equivalence(commands)
    add_defects(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's); return its exit code."""
    options = parser().parse_args(argv)
    # XLA's and absl's chatter is not for the user of a command; errors still come.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        return _run(options)
    except BrokenPipeError:
        # The reader (head, less) has gone; let the interpreter close the pipe quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CANNOT_COMPARE
    except KeyboardInterrupt:
        print("parity: interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from parity.cli.commands import COMMANDS

    try:
        return COMMANDS[options.command](options)
    except CannotCompare as refusal:
        print(f"parity: {refusal}", file=sys.stderr)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        # Not foreseen: the user's model or this program failed. Still one sentence, unless more is asked for.
        if getattr(options, "traceback", False):
            traceback.print_exc()
        else:
            print(f"parity: stopped by {described(error)}; --traceback shows more", file=sys.stderr)
    return CANNOT_COMPARE
