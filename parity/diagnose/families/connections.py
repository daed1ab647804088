"""The connection between two layers: the tensors that it joins, and the operations on the result.

    target = flatten(late(pool(outer(join(inner_1(x_1), inner_2(x_2), ...)))))

The sources x_i are tensors that both sides have: PyTorch's recorded outputs (to which Flax was forced), the model's
inputs, the inputs of earlier layers, and their products with parameters of no layer. A join is a sum, a product or a
concatenation, or there is a single source.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

import torch

from parity.diagnose.families import pooling
from parity.diagnose.families.activation import Activation, apply
from parity.diagnose.families.connection_setting import Connection, ConnectionSetting
from parity.diagnose.families.pooling import PoolingKind, PoolingSetting
from parity.diagnose.identify import Difference, Side
from parity.diagnose.joining import (
    FlattenOrder,
    Join,
    broadcasts,
    channels_moved,
    joined,
    shaped,
    with_channels_second,
)

# A join takes its tensors from so many recent ones; no common model has an older shortcut.
MOST_SOURCES = 13
_USUAL = (Activation.IDENTITY, Activation.RELU)


@dataclasses.dataclass(frozen=True)
class ConnectionProblem(Connection):
    """The problem of one connection: the settings to try, and the result of each."""

    @property
    def _activations(self) -> tuple[Activation, ...]:
        return tuple(dict.fromkeys((*self.likely, *_USUAL, *Activation)))

    def starts(self) -> Iterator[ConnectionSetting]:
        """Simple connections first: usual activations without windows, then all activations, then windows."""
        usual = tuple(dict.fromkeys((*self.likely, *_USUAL)))
        joins = list(self._joins())
        for activations in (usual, self._activations):
            for join in joins:
                yield from self._finished(join, self._plain(self._joined_shape(join)), activations)
        for shifted, activations in ((False, usual), (False, self._activations), (True, usual)):
            for join in joins:
                pools = self._windows(self._joined_shape(join), shifted)
                yield from self._finished(join, pools, activations)

    def _joins(self) -> Iterator[ConnectionSetting]:
        near = range(min(len(self.names), MOST_SOURCES))
        for index in near:
            yield ConnectionSetting((index,))
        for a, b in itertools.combinations(near, 2):
            if self.shapes[a] == self.shapes[b] or self._resizes(a, b):
                yield ConnectionSetting((a, b), Join.SUM, (Activation.IDENTITY, Activation.IDENTITY))
            elif broadcasts(self.shapes[a], self.shapes[b]):
                gates = dict.fromkeys(
                    (Activation.IDENTITY, *self.likely, Activation.SIGMOID, Activation.HARD_SIGMOID)
                )
                for gate, own in itertools.product(gates, dict.fromkeys((*_USUAL, *self.likely))):
                    yield ConnectionSetting((a, b), Join.PRODUCT, (own, gate))
                    yield ConnectionSetting((b, a), Join.PRODUCT, (own, gate))
            elif self.shapes[a] in channels_moved(self.shapes[b]):
                # One of them has its channels last; the sum takes the layout of its first part.
                yield ConnectionSetting((a, b), Join.SUM, (Activation.IDENTITY, Activation.IDENTITY))
                yield ConnectionSetting((b, a), Join.SUM, (Activation.IDENTITY, Activation.IDENTITY))
        yield from self._concatenations(near)

    def _concatenations(self, near: range) -> Iterator[ConnectionSetting]:
        """Consecutive tensors in the order of their computation, then in reverse; then any two."""
        for length in range(2, len(near) + 1):
            for first in range(len(near) - length + 1):
                chosen = tuple(range(first, first + length))
                for order in filter(self._concatenates, (chosen[::-1], chosen)):
                    for inner in (*_USUAL, *self.likely):
                        yield ConnectionSetting(order, Join.CONCATENATION, (inner,) * length)
        pairs = list(filter(self._concatenates, itertools.permutations(near, 2)))
        usual = list(itertools.product(_USUAL, repeat=2))
        unusual = [
            inner
            for a in self._activations
            for inner in ((a, a), (a, Activation.IDENTITY), (Activation.IDENTITY, a))
        ]
        for inner, pair in itertools.product(dict.fromkeys((*usual, *unusual)), pairs):
            yield ConnectionSetting(pair, Join.CONCATENATION, inner)

    def _resizes(self, a: int, b: int) -> bool:
        """Whether one of two images has the target's shape, and the other differs from it in size only."""
        shapes = self.shapes[a], self.shapes[b]
        return self.shape_out in shapes and all(
            len(s) == 4 and s[:2] == self.shape_out[:2] and min(s[2:]) > 1 for s in shapes
        )

    def _concatenates(self, order: tuple[int, ...]) -> bool:
        shapes = [self.shapes[index] for index in order]
        if len(self.shape_out) < 3 or any(len(shape) < 3 for shape in shapes):
            return False
        fits = [shape[2:] == self.shape_out[2:] for shape in shapes]
        return any(fits) and sum(shape[1] for shape in shapes) == self.shape_out[1]

    def _finished(
        self, join: ConnectionSetting, pools: Iterable[PoolingSetting], activations: tuple[Activation, ...]
    ) -> Iterator[ConnectionSetting]:
        shape = self._joined_shape(join)
        other = next((s for i in join.sources if (s := self.shapes[i][2:]) != self.shape_out[2:]), None)
        if len(join.sources) > 1 and len(self.shape_out) == 4 and other is not None and len(other) == 2:
            sizes = pooling.resized(other, self.shape_out[2:])
            yield from (join._replace(resize=resize) for resize in sizes)
            return
        for pool in pools:
            for outer in activations:
                yield join._replace(outer=outer, pool=pool)
                if join.join is Join.SUM and outer is not Activation.IDENTITY:
                    # A shortcut with an activation before the sum, or a shortcut added after the activation.
                    yield join._replace(inner=(outer, Activation.IDENTITY), pool=pool)
                    yield join._replace(inner=(Activation.IDENTITY, outer), pool=pool)
                    yield join._replace(inner=(outer, Activation.IDENTITY), outer=outer, pool=pool)
                    yield join._replace(inner=(Activation.IDENTITY, outer), outer=outer, pool=pool)
            if (
                len(shape) == 4
                and len(self.shape_out) == 2
                and math.prod(shape[2:]) > 1
                and pool.kind is PoolingKind.NONE
            ):
                yield join._replace(flatten=FlattenOrder.HWC)

    def _joined_shape(self, join: ConnectionSetting) -> tuple[int, ...]:
        shape = self.shapes[join.sources[0]]
        if join.join is not Join.CONCATENATION:
            return shape
        return (shape[0], sum(self.shapes[index][1] for index in join.sources), *self.shape_out[2:])

    def _plain(self, shape: tuple[int, ...]) -> Iterator[PoolingSetting]:
        """No pooling, pooling of the whole image, or resizing."""
        out = self.shape_out
        if len(shape) == 4 and len(out) == 2:
            yield PoolingSetting()
            if shape[1] == out[1]:
                yield from pooling.whole()
        elif len(shape) == len(out) == 4 and shape[:2] == out[:2] and shape != out:
            yield from pooling.whole() if out[2:] == (1, 1) else ()
            yield from pooling.resized(shape[2:], out[2:])
        elif math.prod(shape) == math.prod(out):
            yield PoolingSetting()

    def _windows(self, shape: tuple[int, ...], shifted: bool) -> Iterator[PoolingSetting]:
        """Pooling by windows."""
        out = self.shape_out
        if len(shape) != 4 or shape[:1] != out[:1]:
            return
        if len(out) == 4 and shape[1] == out[1]:
            yield from pooling.windows(shape[2:], out[2:], shifted)
        elif len(out) == 2 and out[1] % shape[1] == 0:
            side = math.isqrt(out[1] // shape[1])
            if side * side * shape[1] == out[1]:
                yield from pooling.windows(shape[2:], (side, side), shifted)

    def changes(self, setting: ConnectionSetting) -> Iterator[ConnectionSetting]:
        """One convention at a time: activation, flatten order, shortcut, pooling."""
        for outer in self._activations:
            yield setting._replace(outer=outer)
            yield setting._replace(late=outer)
        yield from self._residual_changes(setting)
        yield setting._replace(
            flatten=FlattenOrder.HWC if setting.flatten is FlattenOrder.CHW else FlattenOrder.CHW
        )
        yield setting._replace(reversed_channels=not setting.reversed_channels)
        for pool in pooling.changes(setting.pool):
            yield setting._replace(pool=pool)
        if len(setting.sources) > 1:
            for pool in pooling.changes(setting.resize):
                yield setting._replace(resize=pool)
        for position, inner in enumerate(setting.inner):
            for name in self._activations:
                changed = (*setting.inner[:position], name, *setting.inner[position + 1 :])
                yield setting._replace(inner=changed)
                if inner != name and setting.join is Join.SUM and setting.outer == name:
                    yield setting._replace(inner=changed, outer=Activation.IDENTITY)

    def _residual_changes(self, setting: ConnectionSetting) -> Iterator[ConnectionSetting]:
        """The shortcut left out, exchanged for another tensor, or added."""
        near = range(min(len(self.names), MOST_SOURCES))
        for position, source in enumerate(setting.sources):
            if setting.join in (Join.SUM, Join.PRODUCT):
                kept = setting.sources[1 - position], setting.inner[1 - position]
                yield setting._replace(sources=kept[:1], join=Join.ONLY, inner=kept[1:])
            if setting.join is Join.CONCATENATION and len(setting.sources) == 2:
                yield setting._replace(sources=setting.sources[::-1], inner=setting.inner[::-1])
            for other in near:
                if other not in setting.sources and self.shapes[other] == self.shapes[source]:
                    changed = (*setting.sources[:position], other, *setting.sources[position + 1 :])
                    yield setting._replace(sources=changed)
                    if setting.join is Join.ONLY:
                        pair = (source, other)
                        inner = (*setting.inner, Activation.IDENTITY)
                        yield setting._replace(sources=pair, join=Join.SUM, inner=inner)
                        if setting.outer is not Activation.IDENTITY:
                            inner = (setting.outer, Activation.IDENTITY)
                            yield setting._replace(
                                sources=pair, join=Join.SUM, inner=inner, outer=Activation.IDENTITY
                            )

    def evaluate(self, setting: ConnectionSetting, side: Side) -> torch.Tensor | None:
        """The expression on the side's sources, in the shape of the side's target."""
        parts = []
        for index, name in zip(setting.sources, setting.inner, strict=True):
            x = side.inputs[index]
            x = x.detach() if index in setting.stopped else x
            parts.append(self._resized(setting, apply(name, x, setting.tie), side.shape))
        y = apply(setting.outer, joined(setting.join, parts), setting.tie)
        y = with_channels_second(y, side.shape) if setting.pool.kind is not PoolingKind.NONE else y
        spatial = self._spatial(setting, y, side.shape)
        if spatial is None:
            return None
        pooled = pooling.apply(setting.pool, y, spatial)
        if pooled is None:
            return None
        y = apply(setting.late, pooled, setting.tie)
        y = y.flip(1) if setting.reversed_channels and y.ndim > 1 else y
        return shaped(y, side.shape, setting.flatten)

    def _resized(self, setting: ConnectionSetting, x: torch.Tensor, out: tuple[int, ...]) -> torch.Tensor:
        """A part of a join at the size of the target."""
        joins = setting.join in (Join.SUM, Join.CONCATENATION) and setting.pool.kind is PoolingKind.NONE
        if not joins or not len(out) == x.ndim == 4 or tuple(x.shape[2:]) == out[2:]:
            return x
        resized = pooling.apply(setting.resize, x, out[2:])
        return x if resized is None else resized

    def _spatial(
        self, setting: ConnectionSetting, y: torch.Tensor, out: tuple[int, ...]
    ) -> tuple[int, ...] | None:
        """The spatial shape after pooling."""
        if setting.pool.kind is PoolingKind.NONE:
            return tuple(y.shape[2:])
        if y.ndim != 4:
            return None
        if len(out) == 4:
            return out[2:]
        if setting.pool.kind in pooling.WHOLE:
            return ()
        side = math.isqrt(out[1] // y.shape[1])
        return (side, side) if side * side * y.shape[1] == out[1] else None

    def differences(
        self, torch_setting: ConnectionSetting, flax_setting: ConnectionSetting
    ) -> list[Difference]:
        """The differing conventions, by the ids of the catalogue."""
        from parity.diagnose.families.connection_words import differences

        return differences(self, torch_setting, flax_setting)
