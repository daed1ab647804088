"""Generates pairs without a defect: random graphs of real layers, one for every number, in both module styles.

Every alarm on such a pair is a false alarm.
"""

import dataclasses

import numpy as np

from experiments.instrument.defects import pieces as p
from experiments.instrument.defects.graph import Builder, Graph

ACTS = (
    "relu",
    "relu6",
    "silu",
    "gelu",
    "elu",
    "leaky_relu",
    "tanh",
    "sigmoid",
    "softplus",
    "hard_swish",
    "hard_sigmoid",
)


@dataclasses.dataclass(frozen=True)
class CleanPair:
    """A graph, the style of its Flax side, and its input."""

    name: str
    graph: Graph
    style: str
    inputs: list[np.ndarray]


def clean_pair(number: int, seed: int) -> CleanPair:
    """The pair of a number; it is the same in every run."""
    generator = np.random.default_rng((seed, 43, number))
    writer = _Writer(generator)
    graph = writer.network()
    rows = int(generator.integers(3, 5))
    x = generator.standard_normal((rows, 3, *writer.first)).astype(np.float32)
    return CleanPair(f"clean/{number}", graph, ("nnx", "linen")[number % 2], [x])


class _Writer:
    """Builds one network; `channels` and `size` are those of the latest image."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.random = generator
        self.first = (int(generator.integers(6, 13)), int(generator.integers(6, 13)))
        self.size, self.channels, self.count = self.first, 3, 0

    def network(self) -> Graph:
        b = Builder()
        self._convolution(b)
        steps = (
            self._convolution,
            self._pooling,
            self._residual,
            self._joined,
            self._block,
            self._transposed,
            self._resized,
            self._channels_last,
        )
        for _ in range(self.random.integers(2, 5)):
            steps[self.random.choice(len(steps), p=(0.26, 0.14, 0.16, 0.1, 0.14, 0.06, 0.06, 0.08))](b)
        self._head(b)
        return b.graph()

    def _choice(self, *choices: object) -> object:
        return choices[self.random.integers(len(choices))]

    def _chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def _name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}{self.count}"

    def _convolution(self, b: Builder) -> None:
        inputs = self.channels
        groups = int(self._choice(1, 1, inputs, 2 if inputs % 2 == 0 else 1))
        outputs = groups * max(1, int(self._choice(4, 6, 8)) // groups)
        kernel, stride = (
            int(self._choice(1, 3, 3, 5)),
            int(self._choice(1, 1, 2)) if min(self.size) > 4 else 1,
        )
        dilation = int(self._choice(1, 1, 2)) if kernel == 3 else 1
        name, bias = self._name("conv"), self._chance(0.5)
        p.conv(b, name, inputs, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=bias)
        self.size = tuple((side - 1) // stride + 1 for side in self.size)
        self.channels = outputs
        self._normed(b)

    def _normed(self, b: Builder) -> None:
        kind = self._choice("batch", "batch", "group", "none")
        if kind == "batch":
            p.batch_norm(b, self._name("bn"), self.channels)
        elif kind == "group":
            groups = 2 if self.channels % 2 == 0 else 1
            p.group_norm(b, self._name("gn"), groups, self.channels)
        if self._chance(0.8):
            b.act(str(self._choice(*ACTS)))

    def _pooling(self, b: Builder) -> None:
        if min(self.size) < 4:
            return
        window = int(self._choice(2, 3))
        padding = int(self._choice(0, 1)) if window == 3 else 0
        if self._chance(0.5):
            ceil = self._chance(0.3)
            p.max_pool(b, window, 2, padding, ceil=ceil)
        else:
            ceil = False
            p.avg_pool(b, window, 2, padding)
        self.size = tuple(_pooled(side, window, padding, ceil) for side in self.size)

    def _inner(self, b: Builder, source: str) -> str:
        """A branch that keeps the shape of the image."""
        c = self.channels
        p.conv(b, self._name("conv"), c, c, int(self._choice(1, 3)), bias=self._chance(0.5), of=source)
        self._normed(b)
        p.conv(b, self._name("conv"), c, c, 3)
        return p.batch_norm(b, self._name("bn"), c) if self._chance(0.6) else b.at

    def _residual(self, b: Builder) -> None:
        source = b.at
        out = self._inner(b, source)
        b.add("add", self._name("sum"), (out, source) if self._chance(0.5) else (source, out))
        if self._chance(0.7):
            b.act(str(self._choice("relu", "silu", "gelu")))

    def _joined(self, b: Builder) -> None:
        source, c = b.at, self.channels
        out = p.conv(b, self._name("conv"), c, 4, 3, bias=True, of=source)
        b.add("concat", self._name("joined"), (source, out) if self._chance(0.5) else (out, source))
        self.channels = c + 4

    def _block(self, b: Builder) -> None:
        outer = b.at
        inner = Builder()
        self._residual(inner)
        b.add("block", self._name("block"), outer, graph=inner.graph())

    def _transposed(self, b: Builder) -> None:
        if max(self.size) > 8:
            return
        outputs = int(self._choice(3, 4, 6))
        options = {"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1, "bias": self._chance(0.5)}
        b.add("conv_transpose", self._name("up"), inputs=self.channels, outputs=outputs, **options)
        self.channels, self.size = outputs, tuple(2 * side for side in self.size)
        b.act("relu")

    def _resized(self, b: Builder) -> None:
        if max(self.size) > 8 or min(self.size) < 2:
            return
        p.resize(b, 2.0, str(self._choice("nearest", "bilinear")))
        self.size = tuple(2 * side for side in self.size)

    def _channels_last(self, b: Builder) -> None:
        b.add("to_last")
        p.layer_norm(b, self._name("ln"), self.channels)
        p.linear(b, self._name("fc"), self.channels, self.channels)
        b.act("gelu")
        if self._chance(0.5):
            b.add("scale", self._name("gamma"), channels=self.channels)
        b.add("to_first")

    def _head(self, b: Builder) -> None:
        features = self.channels
        if self._chance(0.6) or self.channels * self.size[0] * self.size[1] > 200:
            b.add("mean")
        else:
            b.add("flatten")
            features *= self.size[0] * self.size[1]
        if self._chance(0.4):
            p.linear(b, self._name("fc"), features, 6)
            features = 6
            b.act(str(self._choice(*ACTS)))
        if self._chance(0.3):
            b.add("dropout", self._name("drop"), rate=float(self._choice(0.1, 0.25, 0.5)))
        p.linear(b, self._name("fc"), features, int(self._choice(2, 5, 10)), bias=self._chance(0.8))


def _pooled(side: int, window: int, padding: int, ceil: bool) -> int:
    span = side + 2 * padding - window
    if not ceil:
        return span // 2 + 1
    windows = -(-span // 2) + 1
    return windows - 1 if (windows - 1) * 2 >= side + padding else windows
