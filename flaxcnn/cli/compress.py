"""`flaxcnn compress`: a smaller network from a trained one, by the steps of a recipe."""

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flaxcnn.train.interrupts import StopRequest


def add_compress(commands: Any) -> None:
    """The flags of `flaxcnn compress`."""
    command = commands.add_parser(
        "compress",
        help="make a smaller network from a trained one",
        description="Make a smaller network from a trained one by the steps of a recipe: prune (weights), shrink "
        "(channels), train, distil (from a teacher), cluster (weight sharing), factorise (low rank), quantise (8 "
        "bits). The result is a run folder like any other. The same command goes on with "
        "one that was interrupted.",
    )
    command.add_argument("run", metavar="RUN", help="run folder; it is not changed")
    command.add_argument("--recipe", metavar="FILE", required=True, help="JSON file with the steps")
    command.add_argument("--out", metavar="RUN2", required=True, help="run folder to write")
    command.add_argument(
        "--checkpoint",
        default="last",
        metavar="KIND",
        help="which of the run's weights: last, best, or best-2 and so on (default: last)",
    )
    command.add_argument(
        "--repeats",
        type=int,
        default=20,
        metavar="N",
        help="predictions that are timed at each batch size; 0 for none (default: 20)",
    )
    command.add_argument("--json", action="store_true", help="print the table as JSON")


def compress(options: argparse.Namespace, stop: "StopRequest") -> int:
    """Do the steps, write the run folder, print the table; `stop` asks to stop."""
    from rich.console import Console

    from flaxcnn.compress import compression, recipe
    from flaxcnn.errors import InvalidArgument
    from flaxcnn.text import printable
    from flaxcnn.train.run_folder import to_json

    if options.repeats < 0:
        raise InvalidArgument(f"repeats is {options.repeats}; expected at least 0.")
    steps = recipe.read(options.recipe)
    console = Console(markup=False, emoji=False, highlight=False, soft_wrap=True, quiet=options.json)
    table = compression.compress(
        options.run,
        steps,
        options.out,
        checkpoint=options.checkpoint,
        repeats=options.repeats,
        console=console,
        stop=stop,
    )
    if options.json:
        print(to_json(table), end="")
        return 0
    console.print(_table(table))
    console.print(f"run folder: {printable(options.out)}")
    return 0


# Name, key, and how a value is written.
_ROWS = (
    ("accuracy", "accuracy", "{:.2%}"),
    ("parameters", "parameters", "{:,}"),
    ("not 0", "nonzero", "{:,}"),
    ("FLOPs an image", "flops", "{:,.0f}"),
    ("bytes of float32 weights", "plain_bytes", "{:,}"),
    ("bytes of the compressed file", "bytes", "{:,}"),
    ("ms at batch 1", "latency_1", "{:.3f}"),
    ("ms at batch 64", "latency_64", "{:.3f}"),
)


def _table(found: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table("", title=f"{found['model']}, compressed", title_justify="left")
    for name in ("before", "after", "times less"):
        table.add_column(name, justify="right")
    for name, key, form in _ROWS:
        if key in found["before"]:
            scale = 1e3 if key.startswith("latency") else 1
            before, after = (found[kind][key] * scale for kind in ("before", "after"))
            less = "" if key == "accuracy" else f"{before / after:.2f}"
            table.add_row(name, form.format(before), form.format(after), less)
    return table
