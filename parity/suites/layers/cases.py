"""The suite `layers`: every op and layer over generated options, against PyTorch's.

Every second case differentiates flaxcnn's op by the rule derived by hand, the others by JAX. `single_ops` has the cases
of defaults and corners. Nothing is loaded before a case is built.
"""

from collections.abc import Callable

import numpy as np

from parity.suites import options as drawing
from parity.suites.case import Case, Pair
from parity.suites.layers.single_ops import single_op_cases
from parity.suites.options import SEED, Options

QUICK_CASES = 2
# For each layer the function that draws its options, and its mode ("both" where train and eval differ).
LAYERS: dict[str, tuple[drawing.Draw, str]] = {
    "conv": (drawing.convolution, "eval"),
    "fast_conv": (drawing.fast_convolution, "eval"),
    "max_pool": (drawing.maximum_pooling, "eval"),
    "avg_pool": (drawing.average_pooling, "eval"),
    "adaptive_avg_pool": (drawing.adaptive_pooling, "eval"),
    "batch_norm": (drawing.batch_normalisation, "both"),
    "dense": (drawing.dense, "eval"),
    "dropout": (drawing.dropout, "train"),
    "relu": (drawing.relu, "eval"),
    "cross_entropy": (drawing.cross_entropy, "eval"),
    "penalty": (drawing.penalty, "eval"),
}


def layer_cases() -> list[Case]:
    """Every case of the suite."""
    return [*(case for layer in LAYERS for case in cases_of(layer)), *single_op_cases()]


def cases_of(layer: str) -> list[Case]:
    """The cases of one layer."""
    draw, mode = LAYERS[layer]
    return [
        Case(
            name=f"{layer}-{number:02d}",
            suite="layers",
            group=layer,
            quick=number <= QUICK_CASES,
            mode="eval" if options.get("kind") == "eval" else mode,
            build=_builder(layer, options, number),
            detail=drawing.in_words(options),
        )
        for number, options in enumerate(drawing.draw_options(layer, draw), start=1)
    ]


def _builder(layer: str, options: Options, number: int) -> Callable[[], Pair]:
    def build() -> Pair:
        from parity.suites.layers import pairs

        return pairs.BUILDERS[layer](options, np.random.default_rng((SEED, number)))

    return build
