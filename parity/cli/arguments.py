"""The flags of every subcommand."""

import argparse
from typing import Any

from parity.cli import train
from parity.verdict.catalogue import DEFECTS

Commands = Any  # argparse has no public name for what add_subparsers returns

_IDS = f"Ids for --accept: {', '.join(DEFECTS)}."
_MODELS = "MODULE:CALLABLE, importable from the current folder, called without arguments"


def add_check(commands: Commands) -> None:
    """`parity check`."""
    command = commands.add_parser(
        "check",
        help="compare two models",
        description="Compare a Flax model with a PyTorch model, layer by layer, forward and backward. Weights go "
        "from PyTorch to Flax first; both run in float32 and in float64.",
        epilog=_IDS,
    )
    command.add_argument(
        "--torch",
        required=True,
        metavar="MODULE:CALLABLE",
        help=f"returns an nn.Module; {_MODELS}. Or a folder that `parity capture` wrote",
    )
    command.add_argument(
        "--flax",
        required=True,
        metavar="MODULE:CALLABLE",
        help=f"returns an nnx.Module, a Linen module or (linen_module, variables); {_MODELS}",
    )
    _add_inputs(command)
    _add_policy(command)
    for mode in ("train", "eval"):
        command.add_argument(
            f"--flax-{mode}",
            metavar="NAME=VALUE",
            action="append",
            default=[],
            help=f"argument of the Flax model's call, or field, that puts it into {mode} mode, where it is not found",
        )
    command.add_argument(
        "--output", metavar="NAME", help="compare this part of the outputs: a key, field or position"
    )
    command.add_argument(
        "--probes",
        choices=("all", "none"),
        default="all",
        help="look beyond this input too (default: all); none takes half of the time, and speaks of this input only",
    )
    command.add_argument(
        "--sizes",
        choices=("probe", "same"),
        default="probe",
        help="compare on inputs of other sizes too: probe (default), or on the given ones only: same",
    )
    command.add_argument(
        "--map",
        metavar="FILE",
        help='JSON file {"torch path": "flax path"}, where names and order do not tell',
    )
    command.add_argument(
        "--out",
        metavar="DIR",
        help="keep report.json, report.html, the measurements and the worst tensors here",
    )
    _add_reports(command)
    _add_traceback(command)


def add_capture(commands: Commands) -> None:
    """`parity capture`."""
    command = commands.add_parser(
        "capture",
        help="record the PyTorch side, to compare in another process",
        description="Run the PyTorch model and keep what it did in a folder, for `parity check --torch DIR` in a "
        "process that need not hold it.",
    )
    command.add_argument("--torch", required=True, metavar="MODULE:CALLABLE", help=_MODELS)
    _add_inputs(command)
    command.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    _add_traceback(command)


def add_show(commands: Commands) -> None:
    """`parity show DIR`."""
    command = commands.add_parser(
        "show",
        help="judge and render a saved run again",
        description="Judge the saved measurements of a run again, with another policy if one is given, and show "
        "the report. Nothing in the folder is changed.",
        epilog=_IDS,
    )
    command.add_argument("directory", metavar="DIR", help="folder that `parity check --out` wrote")
    _add_policy(command)
    _add_reports(command)
    _add_traceback(command)


def add_convert(commands: Commands) -> None:
    """`parity convert SRC DST`."""
    command = commands.add_parser(
        "convert",
        help="convert weights between PyTorch and flaxcnn",
        description="Convert weights: SRC is a .pth or .safetensors file or a run folder of flaxcnn, DST a .pth or "
        ".safetensors file. Names and layouts are PyTorch's, which torchvision and flaxcnn both load.",
    )
    command.add_argument("source", metavar="SRC", help=".pth, .pt or .safetensors file, or a run folder")
    command.add_argument("destination", metavar="DST", help=".pth, .pt or .safetensors file to write")
    command.add_argument("--model", metavar="NAME", help="check that the weights fit this model of flaxcnn")
    command.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="option of the model, such as num_classes=10; may be repeated",
    )
    command.add_argument(
        "--checkpoint",
        choices=("last", "best"),
        default="last",
        help="which weights of a run (default: last)",
    )
    _add_traceback(command)


def add_suite(commands: Commands) -> None:
    """`parity suite [NAME ...]`."""
    command = commands.add_parser(
        "suite",
        help="run our own cases",
        description="Compare our own models, layers, optimisers, schedules, losses, statistics and augmentation with "
        "PyTorch's; the names are those of the suites.",
    )
    command.add_argument("names", metavar="NAME", nargs="*", help="suites to run (default: all)")
    command.add_argument("--out", metavar="DIR", help="keep the results here")
    _add_traceback(command)


def _add_inputs(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--input",
        metavar="SHAPE",
        help="shape of a random input as PyTorch has it, such as 4x3x32x32; several separated by commas",
    )
    command.add_argument(
        "--data",
        metavar="FILE",
        help="instead of random numbers: a .npy or .npz file, an image, or a folder of images (with --input SHAPE)",
    )
    command.add_argument(
        "--mode", choices=("train", "eval", "both"), default="both", help="of both models (default: both)"
    )
    command.add_argument("--seed", type=int, default=0, metavar="N", help="of models and inputs (default: 0)")
    command.add_argument(
        "--objective",
        choices=("projection", "cross-entropy"),
        default="projection",
        help="what is differentiated: a random projection of every output, or cross-entropy (default: projection)",
    )
    command.add_argument(
        "--no-perturb",
        dest="perturb",
        action="store_false",
        help="leave constant parameters as they are, though a zero scale hides what is behind it",
    )


def _add_policy(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--accept",
        action="append",
        default=[],
        metavar="ID",
        help="a known, intended difference (id of the defect catalogue); may be repeated",
    )
    command.add_argument(
        "--safety", type=float, metavar="X", help="how many times the predicted rounding a gap may reach"
    )
    command.add_argument(
        "--kinks",
        choices=("remark", "strict"),
        help="another derivative at exact zeros and ties, which the models do not reach: remark (default) or divergent",
    )
    command.add_argument(
        "--init",
        choices=("remark", "strict"),
        help="other distributions of the initial weights: a remark (default), or divergent",
    )


def _add_reports(command: argparse.ArgumentParser) -> None:
    command.add_argument("--all", action="store_true", help="show every layer and remark")
    command.add_argument("--html", metavar="FILE", help="write the report as one HTML page")
    command.add_argument("--junit", metavar="FILE", help="write the report as JUnit XML")


def _add_traceback(command: argparse.ArgumentParser) -> None:
    command.add_argument("--traceback", action="store_true", help="show the whole traceback of a failure")


def _option(text: str) -> tuple[str, Any]:
    """`width=32` as `("width", 32)`: the value is JSON where it can be, else a text."""
    import json

    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE, for example num_classes=10")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def add_explain(commands: Commands) -> None:
    """`parity explain`."""
    command = commands.add_parser(
        "explain",
        help="explain an id of the defect catalogue",
        description="Print what the catalogue says of an id that a report names: both conventions, symptom, fix. "
        "Without an id: all ids.",
    )
    command.add_argument("id", metavar="ID", nargs="?", help="for example padding-same-vs-symmetric")
    _add_traceback(command)


def add_train(commands: Commands) -> None:
    """`parity train`."""
    train.add(commands, _MODELS)
