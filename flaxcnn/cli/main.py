"""Reads the command line, runs a subcommand, and turns every expected error into one sentence.

Nothing heavy is imported before the arguments are known to be good, so that `--help` answers at once.

Exit codes: 0 done; 1 the work failed or stopped (an error in one sentence); 2 the command line is wrong;
130 Ctrl-C and 143 SIGTERM, with everything saved to go on from.
"""

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import flaxcnn
from flaxcnn.cli import arguments
from flaxcnn.cli.compress import add_compress
from flaxcnn.cli.doctor import add_doctor
from flaxcnn.cli.finetune import add_finetune
from flaxcnn.cli.output import printable
from flaxcnn.cli.tune import add_tune
from flaxcnn.errors import hint

if TYPE_CHECKING:
    from flaxcnn.train.interrupts import StopRequest


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    root = argparse.ArgumentParser(
        prog="flaxcnn",
        description="Train and use CNNs and ResNets in Flax. `flaxcnn train` alone trains on digits for a minute.",
    )
    root.add_argument("--version", action="version", version=f"flaxcnn {flaxcnn.__version__}")
    commands = root.add_subparsers(dest="command", required=True, metavar="COMMAND")
    arguments.add_train(commands)
    add_finetune(commands)
    arguments.add_eval(commands)
    arguments.add_predict(commands)
    arguments.add_weights(commands)
    arguments.add_recipes(commands)
    arguments.add_models(commands)
    arguments.add_data(commands)
    add_compress(commands)
    add_doctor(commands)
    add_tune(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)
    return root


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (by default the process's); return its exit code."""
    with printable():
        return _main(argv)


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The arguments; beside a flag that there is not, the nearest ones are named."""
    options, unknown = parser().parse_known_args(argv)
    if unknown:
        known = re.findall(r"--[a-z][a-z0-9-]*", options.parser.format_help())
        near = hint(unknown[0].partition("=")[0], known) if unknown[0].startswith("--") else ""
        meant = f"; {near}" if near.startswith("did you mean") else ""
        options.parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    return options


def _main(argv: Sequence[str] | None) -> int:
    options = _parsed(argv)
    if argv is None and options.command == "train":
        from flaxcnn.cli import huge_pages

        if options.huge_pages == "auto":
            huge_pages.restart()
    # XLA's and absl's chatter is not for the user of a command; errors still come.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    try:
        code = _run(options)
        if argv is None and code > 128:
            # A process that stops at once may still compute in XLA's threads, which crash while Python winds up.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        return code
    except BrokenPipeError:
        # The reader (head, less) has gone; let the interpreter close the pipe quietly.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("flaxcnn: interrupted", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    from flaxcnn.train.interrupts import InterruptedRun, StopRequest

    # A bar that is on the screen makes room for what is printed.
    stop = StopRequest(lambda line: print(line, file=sys.stderr, flush=True), leaves=True)
    try:
        # From here on no library that is imported can swallow a signal.
        with stop, warnings.catch_warnings():
            # A program that cannot be kept, or read again, is compiled: a full disk is told where it matters.
            warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
            return _ended(options, stop)
    except InterruptedRun as stopped:
        print(f"flaxcnn: {stopped}", file=sys.stderr)
        return 128 + stopped.signal


def _ended(options: argparse.Namespace, stop: "StopRequest") -> int:
    """Run a subcommand to its end; those that save what they did are asked to stop, all others end at a signal."""
    with stop.immediate("interrupted"):
        from flaxcnn.cli import commands
        from flaxcnn.train.compiling import use_compilation_cache

        use_compilation_cache()
    try:
        if options.command in commands.SAVING:
            code = commands.SAVING[options.command](options, stop)
        else:
            with stop.immediate("interrupted"):
                code = commands.COMMANDS[options.command](options)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # An OSError too, but nothing to be told.
        raise
    except commands.expected_errors() as error:
        print(f"flaxcnn: {error}", file=sys.stderr)
        return 1
