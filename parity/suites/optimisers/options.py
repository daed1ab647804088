"""Hyper-parameters of the cases of the suite `optimisers`: some chosen, so that none is left to chance, some drawn.

Names are those of `flaxcnn.optim.optimiser`, with `factors` by the parameters of the suite, and four of the suite:
`learning_rate`; `gradients`, the kind of gradients; `keep_zeros`, whether the small weights are pruned first; and
`decay_mask`, whether only arrays of two and more dimensions are decayed. The mask is a tree of bools, or flaxcnn's
function if it is "by a function".
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from parity.suites.options import SEED, Draw, Options

CASES_A_GROUP = 14
GRADIENTS = ("normal", "sparse", "spiked", "tiny", "drifting")

_CHOSEN: dict[str, list[Options]] = {
    "sgd": [
        {"learning_rate": 0.1},
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4},
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": True},
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.01, "dampening": 0.5},
        {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "maximize": True, "decay_mask": True},
    ],
    "adam": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "weight_decay": 0.1},
        {"learning_rate": 0.01, "amsgrad": True, "gradients": "spiked"},
        {"learning_rate": 0.01, "eps": 1e-3, "gradients": "tiny"},
        {"learning_rate": 0.01, "weight_decay": 0.1, "maximize": True, "decay_mask": True},
    ],
    "adamw": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "weight_decay": 0.01},
        {"learning_rate": 0.01, "weight_decay": 0.3, "decay_mask": "by a function"},
        {"learning_rate": 0.01, "weight_decay": 0.1, "amsgrad": True, "maximize": True},
        {"learning_rate": 0.01, "weight_decay": 0.1, "eps": 1e-3, "gradients": "tiny"},
    ],
    "rmsprop": [
        {"learning_rate": 0.01},
        {"learning_rate": 0.01, "momentum": 0.9, "centered": True},
        {"learning_rate": 0.01, "weight_decay": 0.1, "momentum": 0.9},
        {"learning_rate": 0.01, "eps": 1e-3, "gradients": "tiny"},
        {"learning_rate": 0.01, "weight_decay": 0.1, "centered": True, "maximize": True, "decay_mask": True},
    ],
    "clipping": [
        {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "clip_norm": 1.0},
        {"optimiser": "sgd", "learning_rate": 0.1, "clip_value": 0.5, "gradients": "spiked"},
        {
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "weight_decay": 0.1,
            "clip_norm": 8.0,
            "clip_value": 0.5,
        },
        {"optimiser": "sgd", "learning_rate": 0.1, "weight_decay": 0.1, "clip_norm": 12.0, "maximize": True},
    ],
    "groups": [
        {
            "optimiser": "sgd",
            "learning_rate": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "factors": {"conv.weight": 0.01, "conv.bias": 0.01},
        },
        {
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "weight_decay": 0.3,
            "factors": {"conv.weight": 0.75, "conv.bias": 0.75, "fc.weight": 10.0},
        },
    ],
    "masked": [
        {"optimiser": "sgd", "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 0.1, "keep_zeros": True},
        {"optimiser": "adam", "learning_rate": 0.01, "amsgrad": True, "keep_zeros": True},
        {
            "optimiser": "adamw",
            "learning_rate": 0.01,
            "weight_decay": 0.1,
            "clip_norm": 1.0,
            "keep_zeros": True,
        },
        {
            "optimiser": "rmsprop",
            "learning_rate": 0.01,
            "momentum": 0.9,
            "centered": True,
            "keep_zeros": True,
        },
    ],
}


def optimiser_options(group: str, count: int = CASES_A_GROUP) -> list[Options]:
    """`count` different settings of an optimiser, or of clipping, the same in every run."""
    generator = np.random.default_rng([SEED, *group.encode()])
    cases = [_complete(group, options) for options in _CHOSEN[group]]
    # Masks and groups are what they are, whatever the numbers: their cases are all chosen.
    while group in _DRAWS and len(cases) < count:
        options = _complete(group, _DRAWS[group](generator))
        if options not in cases:
            cases.append(options)
    return cases


def _complete(group: str, options: Options) -> Options:
    named = options if "optimiser" in options else {"optimiser": group} | options
    return {"gradients": "normal"} | named


def _common(generator: np.random.Generator, rates: tuple[float, ...]) -> Options:
    decay = _choice(generator, (0.0, 5e-4, 0.01, 0.3))
    return {
        "gradients": _choice(generator, GRADIENTS),
        "learning_rate": _choice(generator, rates),
        "weight_decay": decay,
        "decay_mask": decay > 0 and bool(generator.integers(2)),
        "maximize": bool(generator.random() < 0.25),
    }


def _sgd(generator: np.random.Generator) -> Options:
    momentum = _choice(generator, (0.0, 0.5, 0.9, 0.99))
    dampening = _choice(generator, (0.0, 0.1, 0.5, 1.0)) if momentum else 0.0
    nesterov = momentum > 0 and dampening == 0 and bool(generator.integers(2))
    own = {"momentum": momentum, "dampening": dampening, "nesterov": nesterov}
    return _common(generator, (0.3, 0.1, 1e-3)) | own


def _adam(generator: np.random.Generator) -> Options:
    return _common(generator, (0.1, 0.01, 1e-3)) | {
        "betas": (_choice(generator, (0.0, 0.5, 0.9, 0.95)), _choice(generator, (0.9, 0.99, 0.999))),
        "eps": _choice(generator, (1e-10, 1e-8, 1e-4, 0.1)),
        "amsgrad": bool(generator.integers(2)),
    }


def _rmsprop(generator: np.random.Generator) -> Options:
    return _common(generator, (0.1, 0.01, 1e-3)) | {
        "momentum": _choice(generator, (0.0, 0.5, 0.9)),
        # Centred, an alpha near 0 leaves nothing but rounding under the root, in both frameworks.
        "alpha": _choice(generator, (0.5, 0.9, 0.99, 0.999)),
        "eps": _choice(generator, (1e-8, 1e-4, 0.1)),
        "centered": bool(generator.integers(2)),
    }


def _clipping(generator: np.random.Generator) -> Options:
    draws: dict[str, Draw] = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop}
    name = _choice(generator, tuple(draws))
    kind = generator.integers(3)
    clips = {
        "clip_norm": _choice(generator, (0.1, 1.0, 8.0, 12.0)) if kind != 0 else None,
        "clip_value": _choice(generator, (0.1, 0.5, 2.0)) if kind != 1 else None,
    }
    options = {"optimiser": name} | draws[name](generator) | clips
    # Nothing of a tiny gradient would be clipped.
    return options | ({"gradients": "normal"} if options["gradients"] == "tiny" else {})


def _groups(generator: np.random.Generator) -> Options:
    draws: dict[str, Draw] = {"sgd": _sgd, "adam": _adam, "adamw": _adam, "rmsprop": _rmsprop}
    name = _choice(generator, tuple(draws))
    # Not all parameters are named: the others have the common rate.
    factors = {
        parameter: _choice(generator, (0.01, 0.5, 3.0))
        for parameter in ("conv.weight", "conv.bias", "fc.weight")
        if parameter == "conv.weight" or generator.integers(2)
    }
    return {"optimiser": name} | draws[name](generator) | {"factors": factors}


def _choice(generator: np.random.Generator, values: tuple[Any, ...]) -> Any:
    return values[int(generator.integers(len(values)))]


_DRAWS: dict[str, Callable[[np.random.Generator], Options]] = {
    "sgd": _sgd,
    "adam": _adam,
    "adamw": _adam,
    "rmsprop": _rmsprop,
    "clipping": _clipping,
    "groups": _groups,
}
