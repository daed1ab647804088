"""The figures of a finished run, in a table."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flaxcnn.train.run_folder import printable


def print_summary(console: Console, summary: dict) -> None:
    """Print what `summary.json` holds, in short."""
    # A text, and not markup, in which the brackets of a path would have a meaning.
    title = Text(f"{summary['model']} on {printable(summary['data'])}")
    table = Table(title=title, show_header=False, title_justify="left")
    for name, value in (
        ("test accuracy", f"{summary['test_accuracy']:.2%} of {summary['test_count']} images"),
        *_of_the_raw_weights(summary),
        ("test loss", f"{summary['test_loss']:.4f}"),
        ("calibration error", f"{summary['calibration_error']:.4f}"),
        ("training", f"{summary['steps']} steps, {summary['training_seconds']:.1f} s"),
        ("throughput", f"{summary['images_per_second']:,.0f} images/s"),
        ("compilations of the step", str(summary["compilations"])),
        ("parameters", f"{summary['parameters']:,}"),
    ):
        table.add_row(name, value)
    console.print(table)
    folder = printable(summary["run_folder"])
    console.print(f"run folder: {folder}", highlight=False, soft_wrap=True, markup=False)


def _of_the_raw_weights(summary: dict) -> list[tuple[str, str]]:
    """A row for the weights that a moving average was taken of, where one was."""
    raw = summary["raw_test_accuracy"]
    return [] if raw is None else [("without averaging", f"{raw:.2%}")]
