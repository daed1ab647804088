"""`flaxcnn data`: which data sets there are, what is in one, and how to write one for TFDS."""

import argparse
import shlex

from rich.console import Console
from rich.table import Table

from flaxcnn.errors import FlaxcnnError
from flaxcnn.text import printable

# Names may hold what rich takes for markup or for an emoji.
console = Console(markup=False, emoji=False, highlight=False)

# Classes that are named one by one.
NAMED = 20


def data(options: argparse.Namespace) -> int:
    """`flaxcnn data list | show | prepare`."""
    {"list": show_all, "show": show, "prepare": prepare}[options.action](options)
    return 0


def say(text: str) -> None:
    """Print a line as it is: names may hold what rich takes for markup."""

    console.print(printable(text), highlight=False, soft_wrap=True, markup=False)


def show_all(options: argparse.Namespace) -> None:
    """`flaxcnn data list`: every kind of data set, and whether those that have a name are here."""
    from flaxcnn import data as datasets

    table = Table("--data", "what", title_justify="left")
    table.add_row(
        "PATH", "a folder of images: PATH/CLASS/IMAGE, or PATH/train/CLASS/IMAGE beside val and test"
    )
    table.add_row("PATH.npz", "arrays x_train, y_train, x_test, y_test; or images, labels")
    for name in datasets.names():
        table.add_row(name, whether_here(name))
    table.add_row("tfds:NAME", "any prepared TFDS data set, with --data-dir")
    console.print(table)


def whether_here(name: str) -> str:
    """Say whether a data set is on this machine, and where; or what is missing."""
    from flaxcnn import data as datasets

    try:
        return f"yes: {datasets.load(name).info.description}"
    except FlaxcnnError as error:
        return f"no: {error}"


def show(options: argparse.Namespace) -> None:
    """`flaxcnn data show NAME`: splits, classes and statistics, and what is odd."""
    from flaxcnn import data as datasets
    from flaxcnn.train.progress import tracked

    splits = datasets.load(
        options.name, data_dir=options.data_dir, track=tracked(console), **reading_of(options)
    )
    mean, std = datasets.channel_statistics(splits.train, workers=2, track=tracked(console))
    info = splits.info
    say(f"{info.name}  {info.description}")
    say("images " + "x".join(map(str, info.image_shape)))
    say("splits " + "  ".join(f"{role} {len(source):,}" for role, source in splits.sources().items()))
    more = f" and {info.num_classes - NAMED:,} more" if info.num_classes > NAMED else ""
    say(f"classes {info.num_classes}: {', '.join(info.class_names[:NAMED])}{more}")
    say("mean " + ", ".join(f"{value:.4f}" for value in mean) + "  std " + ", ".join(f"{v:.4f}" for v in std))
    for note in (*splits.notes, *datasets.advice(splits)):
        say(f"note: {note}")


def reading_of(options: argparse.Namespace) -> dict:
    """The flags that say how files are read, as arguments of `data.load`."""
    names = ("image_size", "channels", "max_value", "skip_damaged")
    return {name: getattr(options, name) for name in names if hasattr(options, name)}


def prepare(options: argparse.Namespace) -> None:
    """`flaxcnn data prepare NAME --out DIR`."""
    from flaxcnn import data as datasets
    from flaxcnn.train.progress import tracked

    chosen = reading_of(options)
    size = chosen.pop("image_size", None)
    reading = datasets.Reading(
        image_size=None if size is None else (size, size), track=tracked(console), **chosen
    )
    path = datasets.prepare(options.name, options.data_dir, options.out, reading, tell=say)
    name, folder = shlex.quote(f"tfds:{path.parent.name}"), shlex.quote(str(path.parents[1]))
    say(f"wrote {path}; train on it with --data {name} --data-dir {folder}")
