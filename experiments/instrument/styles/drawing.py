"""Random small networks."""

import numpy as np

from experiments.instrument.styles.network import (
    KINKED,
    Act,
    Block,
    Bound,
    Concat,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Mean,
    Network,
    Node,
    Norm,
    Pool,
    Residual,
    Scale,
    Shape,
    Twice,
)

SMOOTH = ("relu", "gelu", "silu", "tanh", "sigmoid")


class _Drawing:
    """A network being drawn: counters of names, the shape so far."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator
        self.shape: Shape = (3, int(generator.integers(8, 15)), int(generator.integers(8, 15)))
        self.image = self.shape
        self.norm = str(generator.choice(["batch", "batch", "group", "layer", "none"]))
        self.acts = [str(a) for a in generator.choice(SMOOTH + KINKED, 2, p=[0.4, *[0.075] * 8])]
        self.cumulative = bool(generator.random() < 0.25)
        self.bias = self.norm == "none" or bool(generator.random() < 0.3)
        self.counts: dict[str, int] = {}
        self.convs = 0

    def name(self, kind: str) -> str:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        return f"{kind}{self.counts[kind]}"

    def width(self) -> int:
        return int(self.generator.choice([4, 6, 8]))

    def conv(
        self, cout: int, *, kernel: int = 3, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> Conv:
        c, h, w = self.shape
        padding = dilation * (kernel // 2)
        h, w = ((size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1 for size in (h, w))
        self.shape = (cout, h, w)
        self.convs += 1
        return Conv(self.name("conv"), c, cout, kernel, stride, padding, dilation, groups, self.bias)

    def act(self) -> Act:
        return Act(self.name("act"), self.acts[int(self.generator.random() < 0.25)])

    def norms(self) -> tuple[Node, ...]:
        if self.norm == "none":
            return ()
        c = self.shape[0]
        momentum = None if self.cumulative else 0.1
        return (Norm(self.name("norm"), self.norm, c, 2 if self.norm == "group" else 1, 1e-5, momentum),)

    def unit(self, *, act: bool = True, cout: int | None = None, **options: int) -> tuple[Node, ...]:
        conv = self.conv(cout or self.width(), **options)
        return (conv, *self.norms(), *((self.act(),) if act else ()))

    def plain(self) -> Node:
        stride = 2 if min(self.shape[1:]) > 6 and self.generator.random() < 0.5 else 1
        kernel = int(self.generator.choice([1, 3, 3, 5]))
        dilation = 2 if kernel == 3 and stride == 1 and self.generator.random() < 0.2 else 1
        groups = 2 if self.shape[0] % 2 == 0 and self.generator.random() < 0.2 else 1
        return Block(
            self.name("block"),
            self.unit(kernel=kernel, stride=stride, dilation=dilation, groups=groups),
        )

    def separable(self) -> Node:
        c = self.shape[0]
        depthwise = self.unit(cout=c, groups=c)
        return Block(self.name("block"), (*depthwise, *self.unit(kernel=1)))

    def residual(self) -> Node:
        before = self.shape
        stride = 2 if min(before[1:]) > 6 and self.generator.random() < 0.4 else 1
        cout = before[0] if stride == 1 and self.generator.random() < 0.5 else self.width()
        body = (*self.unit(cout=cout, stride=stride), *self.unit(cout=cout, act=False))
        after, self.shape = self.shape, before
        shortcut: tuple[Node, ...] = ()
        if stride == 2 or cout != before[0]:
            shortcut = self.unit(cout=cout, kernel=1, stride=stride, act=False)
        self.shape = after
        return Residual(self.name("block"), body, shortcut, self.act())

    def concat(self) -> Node:
        before, rows = self.shape, []
        for kernel in (1, 3):
            self.shape = before
            rows.append(self.unit(cout=4, kernel=kernel))
        self.shape = (8, *before[1:])
        return Concat(self.name("block"), tuple(rows))

    def twice(self) -> Node:
        return Twice(self.name("block"), self.conv(self.shape[0]), self.act())

    def pool(self) -> Node:
        c, h, w = self.shape
        kind = str(self.generator.choice(["max", "avg"]))
        window, stride, padding = [(2, 2, 0), (3, 2, 1), (3, 1, 1)][int(self.generator.integers(3))]
        h, w = ((size + 2 * padding - window) // stride + 1 for size in (h, w))
        self.shape = (c, h, w)
        counted = bool(self.generator.random() < 0.7)
        return Pool(self.name("pool"), kind, window, stride, padding, counted)

    def dropout(self) -> Node:
        rate = float(self.generator.choice([0.1, 0.2, 0.3, 0.5]))
        return Dropout(self.name("drop"), rate, bool(self.generator.random() < 0.4))

    def scale(self) -> Node:
        return Scale(self.name("scale"), self.shape[0])

    def bound(self) -> Node:
        return Bound(self.name("bound"), float(self.generator.choice([6.0, 20.0, 50.0])))

    def head(self) -> tuple[Node, ...]:
        c, h, w = self.shape
        small = c * h * w <= 160
        flat = small and self.generator.random() < 0.5
        before: Node = Flatten("flatten", self.shape) if flat else Mean("mean", self.shape)
        width = c * h * w if flat else c
        if self.generator.random() < 0.4:
            hidden = (Dense("fc1", width, 8), self.act())
            drop = (Dropout(self.name("drop"), 0.5),) if self.generator.random() < 0.6 else ()
            return (before, *hidden, *drop, Dense("fc2", 8, 5))
        return before, Dense("fc", width, 5)


def drawn(seed: int) -> Network:
    """A random network: a first convolution, a few stages, a head."""
    drawing = _Drawing(np.random.default_rng((seed, 1)))
    nodes: list[Node] = list(drawing.unit())
    stages = [
        drawing.plain, drawing.separable, drawing.residual, drawing.concat, drawing.twice,
        drawing.pool, drawing.dropout, drawing.scale, drawing.bound,
    ]  # fmt: skip
    wanted = int(drawing.generator.integers(2, 5))
    chances = [0.15, 0.09, 0.17, 0.09, 0.07, 0.18, 0.12, 0.07, 0.06]
    while drawing.convs < wanted:
        stage = stages[int(drawing.generator.choice(len(stages), p=chances))]
        if stage == drawing.pool and min(drawing.shape[1:]) < 5:
            continue
        nodes.append(stage())
    nodes += drawing.head()
    return Network(drawing.image, int(drawing.generator.choice([2, 3, 4])), tuple(nodes))
