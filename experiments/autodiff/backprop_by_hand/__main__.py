"""Backpropagation by hand: print the tables, write the page, store the figures.

    python -m experiments.autodiff.backprop_by_hand [--out DIR]

Takes under half a minute. The page is `DIR/backprop_by_hand.html`; figures and picture are stored in
`experiments/results/`. Exit code 0 if hand, JAX and PyTorch agree, 1 if not, 2 if DIR cannot be written.
"""

import argparse
import errno
import sys
import tempfile
from pathlib import Path


def main() -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(prog="backprop_by_hand", description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="demo", help="folder for the page (default: demo)")
    folder = Path(parser.parse_args().out)
    try:
        make_writable(folder)
    except OSError as error:
        reason = error.strerror or error
        print(f"{folder} cannot be written ({reason}): give another folder to --out.", file=sys.stderr)
        return 2

    from rich.console import Console

    from experiments import record
    from experiments.autodiff.backprop_by_hand import page, picture, study, terminal
    from flaxcnn.train.compiling import use_compilation_cache

    use_compilation_cache()
    console = Console(highlight=False)
    computed = study.run()
    terminal.show(computed, console)
    written = page.write(computed, folder)
    path = record.write(
        "backprop_by_hand", "python -m experiments.autodiff.backprop_by_hand", study.figures(computed)
    )
    label = int(computed.labels[study.EXAMPLE])
    picture.write(computed.passes, study.EXAMPLE, label, path.with_suffix(".png"))
    console.print(f"page: {written}", soft_wrap=True)
    return 0 if computed.equivalent else 1


def make_writable(folder: Path) -> None:
    """Make the folder if need be, and try to write in it: before the work, not after it.

    Raises:
        OSError: it cannot be made or written in.
    """
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file, not a folder")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder):
        pass


if __name__ == "__main__":
    sys.exit(main())
