"""Writes a network as a Flax port, in one style, with the defects that its nodes name."""

from experiments.instrument.styles.flax_names import Names
from experiments.instrument.styles.flax_pieces import Pieces
from experiments.instrument.styles.network import (
    Act,
    Block,
    Concat,
    Conv,
    Network,
    Node,
    Norm,
    Residual,
    Twice,
)
from experiments.instrument.styles.scope import Scope, Text, capital, indented
from experiments.instrument.styles.style import INVERTED, Style

BLOCKS = (Block, Residual, Concat, Twice)
_IMPORTS = [
    "import dataclasses",
    "import functools",
    "from typing import Any",
    "",
    "import jax",
    "import jax.numpy as jnp",
]


_OUTPUT = """
@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
    logits: Any
    features: Any
"""


class FlaxWriter(Pieces):
    """The text of one port."""

    def __init__(self, network: Network, style: Style) -> None:
        self.network, self.style = network, style
        self.nnx = style.api == "nnx"
        self.names = Names(style)
        framework = "nnx" if self.nnx else "linen as nn"
        self.text = Text([*_IMPORTS, f"from flax import {framework}"])
        self.common: dict[str, set[str]] = {}
        self.transformed = False

    def source(self) -> str:
        """The whole module, with a function `build`."""
        net = Scope("Net")
        if self.style.nchw:
            net.call.append("x = jnp.transpose(x, (0, 2, 3, 1))")
        self._partials(net)
        if self.style.mode == "mutable" and self.network.moded:
            net.call.append(
                'train = self.is_mutable_collection("batch_stats") and not self.is_initializing()'
            )
        self._rows(net, self.network.nodes)
        net.call += self._returned()
        self._finish(net, top=True)
        build = "Net(nnx.Rngs(0))" if self.nnx else "Net()"
        return self.text.finished(f"def build():\n    return {build}")

    def _returned(self) -> list[str]:
        if self.style.output == "array":
            return ["return x"]
        if self.style.output == "tuple":
            return ["return x, features"]
        if self.style.output == "dict":
            return ['return {"logits": x, "features": features}']
        return [f"return {self.text.use('Output', _OUTPUT)}(logits=x, features=features)"]

    # The mode

    @property
    def mode(self) -> str:
        """How the mode is called in a text; empty if nothing tells it."""
        if not self.network.moded or self.style.mode == "own":
            return ""
        return "train" if self.style.mode == "mutable" else self.style.mode

    def _value(self, wanted: str) -> str:
        """The mode as a boolean that is true in training, or in evaluation."""
        own = f"self.{self.mode}" if self.style.at_field and not self.nnx else self.mode
        own = f"self.{self.mode}" if self.style.at_field and self.nnx and self.top else own
        return own if (self.mode in INVERTED) == (wanted == "evaluation") else f"not {own}"

    def _field(self, top: bool) -> bool:
        return bool(self.mode) and self.style.at_field and (top or not self.nnx)

    def _default(self) -> str:
        return str(self.mode in INVERTED)

    # Classes

    def _finish(self, scope: Scope, top: bool = False) -> None:
        argument = ""
        if self.mode and not self._field(top) and not (top and self.style.mode == "mutable"):
            argument = (
                f", {self.mode}={self._default()}"
                if self.mode == "learning"
                else f", {self.mode}: bool = {self._default()}"
            )
        lines = [f"class {scope.name}({'nnx' if self.nnx else 'nn'}.Module):"]
        if self.nnx:
            extra = [f"self.{self.mode} = {self._default()}"] if self._field(top) else []
            made = [*extra, *self._ordered(scope.made)] or ["pass"]
            fields = "".join(f", {field}" for field in scope.fields)
            stored = [
                f"self.{f.partition('=')[0].partition(':')[0]} = {f.partition('=')[0].partition(':')[0]}"
                for f in scope.fields
            ]
            lines += indented(
                [f"def __init__(self, rngs: nnx.Rngs{fields}):", *indented([*stored, *made]), ""]
            )
        else:
            fields = list(scope.fields)
            if self._field(top):
                fields.append(f"{self.mode}: bool = {self._default()}")
            lines += indented([*fields, *([""] if fields else [])])
            if self.style.api == "setup":
                lines += indented(["def setup(self):", *indented(self._ordered(scope.made) or ["pass"]), ""])
            else:
                lines += indented(["@nn.compact"])
        lines += indented([f"def __call__(self, x{argument}):", *indented(scope.call)])
        self.text.classes.append("\n".join(lines))

    def _ordered(self, made: list[str]) -> list[str]:
        return made[::-1] if self.style.reversed else made

    def _class(self, name: str, nodes: tuple[Node, ...], inline: bool) -> str:
        """Write a class of some nodes; give its name."""
        scope, self.top = Scope(capital(name)), False
        if self.style.partial and self.style.api == "compact":
            scope.fields += [f"{piece}: Any" for piece in self.common]
        if self.style.fields:
            scope.fields += (
                ["act: Any = None", "extra: Any = None"] if not self.nnx else ["act=None", "extra=None"]
            )
        if inline:
            self._inline(scope, nodes[0], "x")
        else:
            self._row(scope, nodes, "x", fuse=False)
        scope.call.append("return x")
        self._finish(scope)
        self.top = True
        return scope.name

    # Rows of nodes

    def _rows(self, scope: Scope, nodes: tuple[Node, ...]) -> None:
        waiting: list[Node] = []
        self.top = True
        for node in (*nodes, None):
            if self.style.lists and self.style.nested and isinstance(node, BLOCKS):
                waiting.append(node)
                continue
            self._list(scope, waiting)
            waiting = []
            if node is not None:
                self._row(scope, (node,), "x")

    def _list(self, scope: Scope, blocks: list[Node]) -> None:
        if not blocks:
            return
        made = [self._made_block(block) for block in blocks]
        number = sum("stages" in line for line in (*scope.made, *scope.call)) + 1
        if self.style.api == "compact":
            listed, call = f"stages{number}", f"stages{number} = [{', '.join(made)}]"
            scope.call.append(call)
        else:
            opening, closing = ("nnx.List([", "])") if self.nnx else ("[", "]")
            scope.made.append(f"self.stages{number} = {opening}{', '.join(made)}{closing}")
            listed = f"self.stages{number}"
        scope.call += [f"for stage in {listed}:", *indented([f"x = stage(x{self._passed()})"])]

    def _passed(self) -> str:
        """The mode as an argument of an inner block."""
        if not self.mode or (self.style.at_field and not self.nnx):
            return ""
        value = f"self.{self.mode}" if self.style.at_field and self.top else self.mode
        return f", {value}"

    def _made_block(self, node: Node, name: str = "") -> str:
        """The constructor of a block's own class."""
        cls = self._class(node.name, (node,), inline=True)
        if self.style.inside in ("jit", "remat") and not self.nnx and not self.transformed:
            self.transformed = True
            static = ", static_argnums=(2,)" if self._passed() else ""
            cls = f"nn.{self.style.inside}({cls}{static})"
        return f"{cls}({self._given(name)})"

    def _given(self, name: str = "") -> str:
        """The arguments of a constructor of an own class."""
        given = ["rngs"] if self.nnx else []
        if self.style.partial and self.style.api == "compact":
            given += [f"{piece}={self._piece(piece)}" for piece in self.common]
        if self.style.fields:
            given.append(f"act={self._field_act()}")
        if self._field(False):
            given.append(f"{self.mode}=self.{self.mode}")
        if name:
            given.append(f'name="{name}"')
        return ", ".join(given)

    def _row(self, scope: Scope, nodes: tuple[Node, ...], x: str, fuse: bool = True) -> None:
        position = 0
        while position < len(nodes):
            node = nodes[position]
            if fuse and self.style.fused and isinstance(node, Conv):
                unit = self._unit(nodes[position:])
                self._fused(scope, unit, x)
                position += len(unit)
                continue
            if isinstance(node, BLOCKS):
                self._block(scope, node, x)
            else:
                self._one(scope, node, x)
            position += 1

    def _unit(self, nodes: tuple[Node, ...]) -> tuple[Node, ...]:
        """A convolution with what follows it at once: its norm and its activation."""
        end = 1
        for kind in (Norm, Act):
            if end < len(nodes) and isinstance(nodes[end], kind):
                end += 1
        return nodes[:end]

    def _fused(self, scope: Scope, unit: tuple[Node, ...], x: str) -> None:
        top = self.top
        cls = self._class(f"{unit[0].name}_unit", unit, inline=False)
        self.top = top
        name = self.names.of(f"{unit[0].name}_unit")
        self._made_and_called(scope, name, f"{cls}({{given}})", x, self._passed())

    def _made_and_called(self, scope: Scope, name: str, made: str, x: str, passed: str) -> None:
        if self.style.api == "compact":
            text = made.format(given=self._given(name if self.style.names != "auto" else ""))
            scope.call.append(f"{x} = {text}({x}{passed})")
        else:
            scope.made.append(f"self.{name} = {made.format(given=self._given())}")
            scope.call.append(f"{x} = self.{name}({x}{passed})")

    def _block(self, scope: Scope, node: Node, x: str) -> None:
        if not self.style.nested:
            self._inline(scope, node, x)
            return
        top, name = self.top, self.names.of(node.name)
        if self._is_sequence(node):
            self._sequence(scope, node, name, x)
            return
        if self.style.api == "compact":
            text = self._made_block(node, name if self.style.names != "auto" else "")
            self.top = top
            scope.call.append(f"{x} = {text}({x}{self._passed()})")
            return
        text = self._made_block(node)
        self.top = top
        scope.made.append(f"self.{name} = {text}")
        if self.nnx and self.style.inside in ("jit", "remat") and not self.transformed:
            self.transformed = True
            scope.call.append(
                f"{x} = nnx.{self.style.inside}(lambda block, x: block(x{self._passed()}))(self.{name}, {x})"
            )
        else:
            scope.call.append(f"{x} = self.{name}({x}{self._passed()})")

    def _inline(self, scope: Scope, node: Node, x: str) -> None:
        if isinstance(node, Block):
            self._row(scope, node.nodes, x)
        elif isinstance(node, Residual):
            scope.call.append(f"y = {x}")
            self._row(scope, node.nodes, "y")
            self._row(scope, node.shortcut, x)
            shortcut = f"jax.lax.stop_gradient({x})" if node.plant == "gradient-stopped" else x
            scope.call.append(f"{x} = y" if node.plant == "residual-missing" else f"{x} = y + {shortcut}")
            self._row(scope, (node.act,), x)
        elif isinstance(node, Concat):
            names = [f"y{number}" for number in range(len(node.branches))]
            for name, branch in zip(names, node.branches, strict=True):
                scope.call.append(f"{name} = {x}")
                self._row(scope, branch, name)
            order = names[::-1] if node.plant == "concat-order" else names
            scope.call.append(f"{x} = jnp.concatenate([{', '.join(order)}], axis=-1)")
        elif isinstance(node, Twice):
            self._twice(scope, node, x)


def written(network: Network, style: Style) -> str:
    """The text of the Flax side."""
    return FlaxWriter(network, style).source()
