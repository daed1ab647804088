"""Makes a folder of photos as people have them: mixed sizes, formats and modes, with stray files in between.

python photos.py [FOLDER]: parts of scikit-learn's two photos, and its digits, in the class folders building, flower
and digit. Nothing is downloaded. The same files come out every time.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_image

EACH = 40


def crops(photo: np.ndarray, generator: np.random.Generator) -> Iterator[Image.Image]:
    """Parts of a photo, each of another size."""
    height, width = photo.shape[:2]
    for _ in range(EACH):
        side, longer = generator.integers(64, 160), generator.uniform(1, 1.5)
        tall, wide = (side, int(side * longer)) if generator.random() < 0.5 else (int(side * longer), side)
        top, left = generator.integers(height - tall), generator.integers(width - wide)
        yield Image.fromarray(photo[top : top + tall, left : left + wide])


def digits(generator: np.random.Generator) -> Iterator[Image.Image]:
    """Digits as large as photos: black on white, or white on black with 16 bits a pixel."""
    known = load_digits().images
    for index in generator.permutation(len(known))[:EACH]:
        pixels = known[index] / 16
        side = int(generator.integers(40, 120))
        image = Image.fromarray(np.uint8(255 * (1 - pixels))).resize((side, side))
        if index % 3 == 0:
            image = Image.fromarray(65535 - np.uint16(257) * np.asarray(image))
        yield image


def save(image: Image.Image, path: Path, number: int) -> None:
    """JPEG, PNG, grey, palette in turn; 16 bits a pixel stay what they are."""
    if image.mode == "I;16":
        image.save(path.with_suffix(".png"))
    elif number % 4 == 0:
        image.convert("RGB").save(path.with_suffix(".jpg"), quality=90)
    elif number % 4 == 1:
        image.convert("L").save(path.with_suffix(".png"))
    elif number % 4 == 2:
        image.convert("P", palette=Image.Palette.ADAPTIVE).save(path.with_suffix(".png"))
    else:
        image.save(path.with_suffix(".webp"), lossless=True)


def main(folder: Path) -> None:
    """Write the folder."""
    generator = np.random.default_rng(0)
    classes = {
        "building": crops(load_sample_image("china.jpg")[:330], generator),
        "flower": crops(load_sample_image("flower.jpg"), generator),
        "digit": digits(generator),
    }
    for name, images in classes.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, image in enumerate(images):
            save(image, folder / name / f"photo-{number:02d}", number)
    (folder / ".DS_Store").write_bytes(b"left by a file manager")
    (folder / "flower" / "notes.txt").write_text("Taken in Kunming.\n")
    print(f"wrote {3 * EACH} photos into {folder}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "photos"))
