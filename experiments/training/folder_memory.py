"""A folder of photos before the first step: the memory that it takes, and the damaged files that are found.

    python -m experiments.training.folder_memory           4 to 10 minutes on 2 cores, by what else runs there
    python -m experiments.training.folder_memory --table   run nothing; show what is stored

Memory: folders of JPEG files are made, of several sizes and numbers. A process for each loads the folder, looks into
every file and measures the channels, as `flaxcnn train` does. What is stored is by how much its peak grew over what
a folder of four small images takes: without the cache of decoded images, and with it, which holds at most 512 MiB.
As a control, the channels of one folder are measured 4,096 images at once, as they were before.

Damaged files: files of several formats are damaged in several ways. Pillow alone, file by file, says which of them
cannot be decoded. `flaxcnn train` must name their number and make no run folder; with `--skip-damaged` every other
image must be read. Stored in `experiments/results/folder_memory.json`.
"""

import argparse
import io
import json
import os
import resource
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from experiments import markdown, record
from experiments.performance.overhead.process import ChildError, output

NAME, COMMAND = "folder_memory", "python -m experiments.training.folder_memory"
SIZES, NUMBERS = (64, 128, 256, 512), (200, 800, 3200)
CONTROL = (256, 800)
# Two threads hold some images of 512 x 512 each, and their sums in 64 bits.
FLAT_MIB = 48
WAYS = ("half cut off", "last bytes cut off", "empty", "text", "header overwritten", "middle overwritten")
FORMATS = ("png", "jpg", "gif", "bmp", "tiff", "webp")
CLASSES = ("cat", "dog")


def main(argv: list[str] | None = None) -> int:
    """Measure, store, print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="pixels a side")
    parser.add_argument("--numbers", type=int, nargs="+", default=NUMBERS, help="images of a folder")
    parser.add_argument("--table", action="store_true", help="run nothing; show what is stored")
    parser.add_argument("--turn", nargs=2, metavar=("FOLDER", "HOW"), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.turn:
        print(json.dumps(turn(Path(options.turn[0]), options.turn[1])))
        return 0
    try:
        if not options.table:
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as place:
                memory = measured(Path(place), options.sizes, options.numbers)
                damaged = damage_found(Path(place) / "damaged", each=4)
            seconds = time.perf_counter() - start
            record.write(NAME, COMMAND, {"memory": memory, "damaged": damaged, "seconds": seconds})
        print(folder_memory(), folder_damaged(), sep="\n\n")
    except (ChildError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def turn(folder: Path, how: str) -> dict[str, float]:
    """Load a folder in this process; give by how many MiB the peak grew, and the seconds that it took.

    Args:
        folder: of images.
        how: `cached` as it is; `uncached` without keeping what was decoded; `at once`, and with large chunks.
    """
    from flaxcnn import data
    from flaxcnn.data import cached

    if how != "cached":
        cached.CACHE_LIMIT = 0
    chunk = 4096 if how == "at once" else None
    load_once(data, folder.parent / "small", chunk)
    before, start = peak(), time.perf_counter()
    load_once(data, folder, chunk)
    return {"mib": peak() - before, "seconds": time.perf_counter() - start}


def load_once(data: Any, folder: Path, chunk: int | None) -> None:
    """Load a folder and measure its channels."""
    data.channel_statistics(data.load(str(folder)).train, chunk, workers=2)


def peak() -> float:
    """The largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(place: Path, sizes: list[int], numbers: list[int]) -> list[dict[str, Any]]:
    """Give for every folder the growth of memory, each in a process of its own."""
    make_photos(place / "small", 8, 4)
    rows = []
    for size in sizes:
        for number in numbers:
            folder = place / "photos"
            make_photos(folder, size, number)
            hows = ("uncached", "cached", *(("at once",) if (size, number) == CONTROL else ()))
            row: dict[str, Any] = {"size": size, "number": number, "pixels_mib": number * size**2 * 3 / 2**20}
            for how in hows:
                arguments = ("-m", "experiments.training.folder_memory", "--turn", str(folder), how)
                row[how] = json.loads(output(arguments).splitlines()[-1])
            print(
                f"{number} of {size}: "
                + ", ".join(
                    f"{how} {row[how]['mib']:.0f} MiB in {row[how]['seconds']:.1f} s" for how in hows
                ),
                flush=True,
            )
            rows.append(row)
            shutil.rmtree(folder)
    return rows


def make_photos(folder: Path, size: int, number: int) -> None:
    """Write JPEG files in two classes: 16 pictures, each followed by a number that makes the file its own."""
    from PIL import Image

    pictures = []
    for seed in range(min(number, 16)):
        # Coarse noise is as large in a file as a photo.
        coarse = np.random.default_rng(seed).integers(0, 256, (size // 4, size // 4, 3)).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(coarse).resize((size, size)).save(buffer, "JPEG")
        pictures.append(buffer.getvalue())
    for index in range(number):
        path = folder / CLASSES[index % 2] / f"{index}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pictures[index % len(pictures)] + index.to_bytes(4, "little"))


def damage_found(root: Path, each: int) -> list[dict[str, Any]]:
    """Damage `each` files of each format in each way; give what Pillow and what flaxcnn say of them."""
    rows = []
    for way in WAYS:
        shutil.rmtree(root, ignore_errors=True)
        damaged = make_damaged(root, way, each)
        refused = {path for path in damaged if not decodes(path)}
        rows.append({"way": way, "files": len(damaged), "undecodable": len(refused)} | answers(root, refused))
        print(rows[-1], flush=True)
    return rows


def make_damaged(root: Path, way: str, each: int) -> list[Path]:
    """Write sound files of every format into three parts, then damage some of each part."""
    from PIL import Image

    generator = np.random.default_rng(WAYS.index(way))
    damaged = []
    for part_index, part in enumerate(("train", "val", "test")):
        for label, name in enumerate(CLASSES):
            for format_index, ending in enumerate(FORMATS):
                for number in range(2 * each):
                    path = root / part / name / f"{ending}-{number}.{ending}"
                    path.parent.mkdir(parents=True, exist_ok=True)
                    pixels = generator.integers(0, 256, (24, 24, 3)).astype(np.uint8)
                    Image.fromarray(pixels).save(path)
                    # One class of one part each, so that every part has damaged files.
                    if number < each and (part_index + label + format_index) % 2 == 0:
                        path.write_bytes(damage(path.read_bytes(), way, generator))
                        damaged.append(path)
    return damaged


def damage(content: bytes, way: str, generator: np.random.Generator) -> bytes:
    """Damage the content of a file."""
    noise = generator.integers(0, 256, 16).astype(np.uint8).tobytes()
    middle = int(generator.integers(len(content) // 4, len(content) // 2))
    return {
        "half cut off": content[: len(content) // 2],
        "last bytes cut off": content[: -int(generator.integers(20, 60))],
        "empty": b"",
        "text": b"<html>404 Not Found</html>",
        "header overwritten": noise + content[16:],
        "middle overwritten": content[:middle] + noise + content[middle + 16 :],
    }[way]


def decodes(path: Path) -> bool:
    """Whether Pillow alone decodes a file and converts it to RGB."""
    from PIL import Image

    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path) as image:
            image.convert("RGB")
    except Exception:
        return False
    return True


def answers(root: Path, refused: set[Path]) -> dict[str, Any]:
    """Give what `flaxcnn train` says of a folder, and what is left without the damaged files."""
    from flaxcnn.cli import main as command
    from flaxcnn.data import load

    run, said = root.parent / "run", io.StringIO()
    before, sys.stderr = sys.stderr, said
    try:
        code = command(["train", "--data", str(root), "--out", str(run)]) if refused else 1
    finally:
        sys.stderr = before
    named = f"{len(refused):,} of " in said.getvalue() or len(refused) == 0
    splits = load(str(root), skip_damaged=True)
    left = (
        {root / file.path for file in splits.parts.files if file.error is not None} if splits.parts else set()
    )
    read = sum(len(source.gather(np.arange(len(source)))[0]) for source in splits.sources().values())
    return {
        "refused_at_once": code == 1 and named and not run.exists(),
        "left_out": len(left),
        "the_same_files": left == refused,
        "read": read,
        "sound": sum(len(files) for *_, files in os.walk(root)) - len(refused),
    }


def folder_memory() -> str:
    """A row for every folder."""
    stored = record.read(NAME)
    header = [
        "images",
        "pixels",
        "all pixels, decoded",
        "memory grows by",
        "with the cache of 512 MiB",
        "seconds",
    ]
    rows = [
        [
            f"{row['number']:,}",
            f"{row['size']} x {row['size']}",
            f"{row['pixels_mib']:.0f} MiB",
            f"{row['uncached']['mib']:.0f} MiB",
            f"{row['cached']['mib']:.0f} MiB",
            f"{row['uncached']['seconds']:.1f}",
        ]
        for row in stored["memory"]
    ]
    largest = max(row["uncached"]["mib"] for row in stored["memory"])
    control = "".join(
        f" Measured 4,096 images at once, as before, {row['number']} of {row['size']} x {row['size']} take "
        f"{row['at once']['mib']:.0f} MiB."
        for row in stored["memory"]
        if "at once" in row
    )
    note = (
        f"Largest growth without the cache: {largest:.0f} MiB; target: at most {FLAT_MIB} MiB, "
        f"{'reached' if largest <= FLAT_MIB else 'missed'}.{control} {markdown.where(stored)}."
    )
    return f"{markdown.rows(header, rows)}\n\n{note}"


def folder_damaged() -> str:
    """A row for every way in which files were damaged."""
    stored = record.read(NAME)
    header = [
        "damage",
        "files",
        "Pillow cannot decode",
        "refused before a run folder is made",
        "left out by `--skip-damaged`",
        "the same files",
        "others read",
    ]
    rows = [
        [
            row["way"],
            str(row["files"]),
            str(row["undecodable"]),
            "nothing to refuse" if not row["undecodable"] else "yes" if row["refused_at_once"] else "**no**",
            str(row["left_out"]),
            "yes" if row["the_same_files"] else "**no**",
            f"{row['read']} of {row['sound']}",
        ]
        for row in stored["damaged"]
    ]
    return f"{markdown.rows(header, rows)}\n\n{markdown.where(stored)}."


TABLES = {"folder_memory": folder_memory, "folder_damaged": folder_damaged}

if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.exit(main())
