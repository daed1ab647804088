"""Draws options of layers from a seeded generator: the same cases in every run.

Each function draws the options of one layer as a dictionary, whose items name the case. Height and width of
images always differ, so that a swapped pair shows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Options = dict[str, Any]
Draw = Callable[[np.random.Generator], Options]
CASES_A_LAYER = 24
# In place of a momentum: the average of all batches so far (PyTorch's momentum=None).
CUMULATIVE = "cumulative"
# A layer's options come from its own generator: adding a layer changes no other's cases.
SEED = 20151210


def draw_options(layer: str, draw: Draw, count: int = CASES_A_LAYER) -> list[Options]:
    """`count` different options of a layer; every second one is differentiated by the rule derived by hand."""
    generator = np.random.default_rng([SEED, *layer.encode()])
    cases: list[Options] = []
    while len(cases) < count:
        options = {"by_hand": len(cases) % 2 == 1} | draw(generator)
        if options not in cases:
            cases.append(options)
    return cases


def in_words(options: Options) -> str:
    """The options as a line of text, those that are off left out."""
    shown = {name: value for name, value in options.items() if value is not False and value is not None}
    words = (name if value is True else f"{name} {value}" for name, value in shown.items())
    return ", ".join(words).replace("_", " ")


def convolution(generator: np.random.Generator) -> Options:
    """Square and other kernels, strides, symmetric and one-sided padding, dilation, groups to depthwise."""
    while True:
        options = {
            "image": _image(generator),
            "kernel": _one_or_pair(generator, 1, 4),
            "stride": _one_or_pair(generator, 1, 3),
            "padding": _padding(generator, 2),
            "dilation": _one_or_pair(generator, 1, 2),
            "groups": int(generator.choice([1, 1, 2, 4])),
            "outputs": int(generator.choice([4, 8])),
            "bias": bool(generator.integers(2)),
        }
        if _fits(options["image"], options["kernel"], options["padding"], options["dilation"]):
            return options


def fast_convolution(generator: np.random.Generator) -> Options:
    """Convolutions for the fast rules of `flaxcnn.ops.cpu.choice`: 3x3 with 64 channels and more, strided, and 1x1."""
    height, width = generator.choice([8, 9, 10, 11], 2, replace=False)
    kernel, stride = ((3, 1), (3, 1), (3, 2), (1, 1), (1, 2))[generator.integers(5)]
    return {
        "image": (int(height), int(width)),
        "channels": int(generator.choice([64, 72])),
        "kernel": kernel,
        "stride": stride,
        "padding": int(generator.integers(1, 3)) if kernel == 3 else 0,
        "dilation": 1,
        "groups": 1,
        "outputs": int(generator.choice([64, 68])),
        "bias": bool(generator.integers(2)),
    }


def maximum_pooling(generator: np.random.Generator) -> Options:
    """Windows, strides, padding to half the window, dilation, ceil_mode; images with ties."""
    while True:
        options = _pooling(generator) | {
            "dilation": _one_or_pair(generator, 1, 2),
            "ties": bool(generator.integers(2)),
        }
        if _fits(options["image"], options["window"], options["padding"], options["dilation"]):
            return options


def average_pooling(generator: np.random.Generator) -> Options:
    """Windows, strides, padding, ceil_mode, whether padding counts, another divisor."""
    while True:
        options = _pooling(generator)
        options["count_include_pad"] = isinstance(_first(options["padding"]), tuple) or bool(
            generator.integers(2)
        )
        options["divisor_override"] = int(generator.integers(1, 9)) if generator.random() < 0.25 else None
        if _fits(options["image"], options["window"], options["padding"], 1):
            return options


def adaptive_pooling(generator: np.random.Generator) -> Options:
    """Output sizes that divide the image, that do not, and that exceed it."""
    return {"image": _image(generator), "output_size": _one_or_pair(generator, 1, 9)}


def batch_normalisation(generator: np.random.Generator) -> Options:
    """Images and vectors, momenta, epsilons, biased variance, masked rows."""
    affine = bool(generator.random() < 0.8)
    return {
        "image": _image(generator) if generator.random() < 0.7 else None,
        "channels": int(generator.integers(1, 6)),
        # flaxcnn's op leaves the cumulative average to the layer, which always has a scale and a bias.
        "momentum": [0.1, 0.01, 0.5, 1.0, CUMULATIVE][generator.integers(5 if affine else 4)],
        "epsilon": [1e-5, 1e-3, 0.1][generator.integers(3)],
        "biased_running_variance": bool(generator.random() < 0.3),
        "affine": affine,
        "mask": bool(generator.random() < 0.3),
    }


def dense(generator: np.random.Generator) -> Options:
    """Sizes, leading axes, with and without bias."""
    return {
        # The second axis, if there is one, must not be as long as the third: see parity.matching.axes.
        "leading": [(3,), (5,), (2, 7), (3, 9)][generator.integers(4)],
        "inputs": int(generator.integers(1, 7)),
        "outputs": int(generator.integers(1, 7)),
        "bias": bool(generator.integers(2)),
    }


def dropout(generator: np.random.Generator) -> Options:
    """Evaluation, training at rate 0, and training with a mask: given, or drawn by flaxcnn."""
    kind = ["eval", "train at rate 0", "given mask", "drawn mask"][generator.integers(4)]
    options = {"shape": _shape(generator), "kind": kind}
    if kind == "train at rate 0":
        return options | {"rate": 0.0, "by_hand": False}
    rate = float(generator.integers(1, 9)) / 10
    # In evaluation there is nothing to differentiate.
    return options | {"rate": rate} | ({"by_hand": False} if kind == "eval" else {})


def relu(generator: np.random.Generator) -> Options:
    """Shapes; some elements are exactly zero, where the derivative is a convention."""
    return {"shape": _shape(generator), "zeros": float(generator.integers(0, 6)) / 10}


def cross_entropy(generator: np.random.Generator) -> Options:
    """Labels and distributions, smoothing, class weights, reductions, ignored labels, masked rows."""
    distributions = bool(generator.random() < 0.3)
    return {
        "rows": int(generator.integers(3, 8)),
        "classes": int(generator.integers(2, 7)),
        "distributions": distributions,
        "label_smoothing": [0.0, 0.0, 0.1, 0.5][generator.integers(4)],
        "class_weights": bool(generator.integers(2)),
        "reduction": ["mean", "sum", "none"][generator.integers(3)],
        "ignore_index": None if distributions else [None, 0, 1][generator.integers(3)],
        "mask": bool(generator.random() < 0.3),
    }


def penalty(generator: np.random.Generator) -> Options:
    """L1 and L2 over trees of one to three arrays; some elements are exactly zero."""
    shapes = [_shape(generator) for _ in range(int(generator.integers(1, 4)))]
    return {
        "norm": int(generator.integers(1, 3)),
        "shapes": shapes,
        "zeros": float(generator.integers(0, 6)) / 10,
    }


def _pooling(generator: np.random.Generator) -> Options:
    image, window = _image(generator), _one_or_pair(generator, 2, 4)
    sided = bool(generator.random() < 0.25)
    most = min(_both(window)) // 2
    return {
        "image": image,
        "window": window,
        "stride": None if generator.random() < 0.25 else _one_or_pair(generator, 1, 3),
        "padding": _sided(generator, most) if sided else int(generator.integers(0, most + 1)),
        # PyTorch pads both sides alike; where the twin pads by itself, ceil_mode would count from elsewhere.
        "ceil_mode": not sided and bool(generator.integers(2)),
    }


def _image(generator: np.random.Generator) -> tuple[int, int]:
    height = int(generator.integers(5, 10))
    return height, height + int(generator.integers(1, 4))


def _shape(generator: np.random.Generator) -> tuple[int, ...]:
    rows, channels = int(generator.integers(4, 8)), int(generator.integers(3, 7))
    return (rows, channels, *_image(generator)) if generator.integers(2) else (rows, channels)


def _one_or_pair(generator: np.random.Generator, low: int, high: int) -> int | tuple[int, int]:
    first, second = (int(generator.integers(low, high + 1)) for _ in range(2))
    return (first, second) if generator.random() < 0.4 else first


def _padding(generator: np.random.Generator, most: int) -> Any:
    return _sided(generator, most) if generator.random() < 0.3 else _one_or_pair(generator, 0, most)


def _sided(generator: np.random.Generator, most: int) -> tuple[tuple[int, int], tuple[int, int]]:
    top, bottom, left, right = (int(generator.integers(0, most + 1)) for _ in range(4))
    return (top, bottom), (left, right)


def _both(value: Any) -> tuple[Any, Any]:
    return value if isinstance(value, tuple) else (value, value)


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, tuple) else value


def _fits(image: tuple[int, int], window: Any, padding: Any, dilation: Any) -> bool:
    """Whether at least one window lies inside the padded image."""
    pads = [sum(pad) if isinstance(pad, tuple) else 2 * pad for pad in _both(padding)]
    spans = [d * (k - 1) + 1 for d, k in zip(_both(dilation), _both(window), strict=True)]
    return all(size + pad >= span for size, pad, span in zip(image, pads, spans, strict=True))
