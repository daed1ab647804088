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

from flaxcnn.cli.output import printable
from parity.cli import arguments as flags
from parity.cli.equivalence import add_equivalence
from parity.cli.exceptions import described
from parity.errors import CannotCompare

CANNOT_COMPARE = 2
# What the extra `parity` adds to an installation.
EXTRA = ("torch", "torchvision", "scipy")
# Commands that there were, and what does the same now.
REPLACED = {
    "defects": "it measures this program, not a port: in a checkout, run python -m experiments.instrument.defects_study"
}


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
    flags.add_check(commands)
    flags.add_capture(commands)
    flags.add_show(commands)
    flags.add_convert(commands)
    flags.add_suite(commands)
    flags.add_train(commands)
    flags.add_explain(commands)
    add_equivalence(commands)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's); return its exit code."""
    with printable():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    arguments = sys.argv[1:] if argv is None else list(argv)
    if arguments and arguments[0] in REPLACED:
        print(f"parity {arguments[0]} is no longer a command; {REPLACED[arguments[0]]}.", file=sys.stderr)
        return CANNOT_COMPARE
    options = parser().parse_args(arguments)
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
        code = COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except CannotCompare as refusal:
        print(f"parity: {refusal}", file=sys.stderr)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        # Not foreseen: the user's model or this program failed. Still one sentence, unless more is asked for.
        if getattr(options, "traceback", False):
            traceback.print_exc()
        elif isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in EXTRA:
            install = "pip install 'flaxcnn[parity]'"
            print(f"parity: this needs {error.name}, which is not installed: {install}", file=sys.stderr)
        else:
            print(f"parity: stopped by {described(error)}; --traceback shows more", file=sys.stderr)
    return CANNOT_COMPARE
