"""How the layers of a port are made and called, and those among them that are told the mode."""

from experiments.instrument.styles import flax_layers as layers
from experiments.instrument.styles.flax_names import Names
from experiments.instrument.styles.network import Dropout, Network, Node, Norm
from experiments.instrument.styles.scope import Scope, Text, indented
from experiments.instrument.styles.style import Style


class Moded:
    """Norms and dropouts, and what all layers need.

    `top`: what is written belongs to the network itself; `common`: options that a partial has, by what it makes.
    """

    network: Network
    style: Style
    nnx: bool
    names: Names
    text: Text
    common: dict[str, set[str]]
    top: bool
    mode: str

    def _value(self, wanted: str) -> str:
        raise NotImplementedError

    def _piece(self, name: str) -> str:
        """How the partial of convolutions or of norms is called here."""
        if self.style.api != "compact":
            return f"make_{name}"
        return name if self.top else f"self.{name}"

    def _head(self, piece: str, class_name: str) -> str:
        if piece in self.common:
            return self._piece(piece)
        return f"{'nnx' if self.nnx else 'nn'}.{class_name}"

    def _layer(self, scope: Scope, node: Node, made: str, x: str, given: str = "") -> str:
        """Make a layer and call it; the text of the call."""
        name = self.names.of(node.name)
        if self.style.api == "compact":
            if self.style.names != "auto":
                made = f'{made[:-1]}{"" if made.endswith("()") else ", "}name="{name}")'
            return f"{made}({x}{given})"
        scope.made.append(f"self.{name} = {made}")
        return f"self.{name}({x}{given})"

    def _by_hand(self, node: Norm) -> bool:
        return node.kind == "batch" and (self.style.norm == "hand" or node.momentum is None)

    def _norm(self, scope: Scope, node: Norm, x: str) -> None:
        given = ""
        if node.kind == "batch" and self.mode:
            given = f", use_running_average={self._value('evaluation')}"
        elif node.kind == "batch" and not self.nnx:
            raise AssertionError("a batch norm of Linen has a mode")
        if self._by_hand(node):
            made = self._hand_norm(node)
        else:
            name, options = layers.norm(node, self.style, self.common.get("norm", set()))
            made = f"{self._head('norm', name)}({options})"
        cast = f"{x}.astype(jnp.float32)" if self.style.pin == "cast" else x
        scope.call.append(f"{x} = {self._layer(scope, node, made, cast, given)}")

    def _hand_norm(self, node: Norm) -> str:
        template, name = (layers.NNX_NORM if self.nnx else layers.LINEN_NORM), "TorchBatchNorm"
        plant = ""
        if node.plant == "plain-copy":
            name, plant = "PlainBatchNorm", "m = 1.0\n" + " " * (12 if self.nnx else 16)
        text = template.replace("{plant}", plant).replace("TorchBatchNorm", name)
        momentum = node.momentum
        if node.plant == "momentum" and momentum is not None:
            momentum = round(1 - momentum, 6)
        options = layers.arguments(momentum=momentum, epsilon=layers.epsilon(node))
        if momentum is None:
            options = f"momentum=None, {options}"
        self.text.use(name, text)
        return f"{name}({f'{node.channels}, ' if self.nnx else ''}{options})"

    def _dropout(self, scope: Scope, node: Dropout, x: str) -> None:
        if node.plant == "dropout-missing":
            return
        off = self._value("evaluation") if self.mode else ""
        if node.plant == "dropout-always":
            off = "False"
        given = f", deterministic={off}" if off else ""
        rate, axes = layers.dropout_rate(node), layers.dropped_axes(node)
        if self.style.by_hand and self.nnx:
            self.text.use("Drop", layers.NNX_DROP.replace("{stream}", self.style.stream))
            made = f"Drop({rate}, rngs{f', {axes}' if axes else ''})"
            scope.call.append(f"{x} = {self._layer(scope, node, made, x, given)}")
        elif self.style.by_hand:
            shape = f"({x}.shape[0], 1, 1, {x}.shape[3])" if axes else f"{x}.shape"
            lines = [
                f'keep = jax.random.bernoulli(self.make_rng("{self.style.stream}"), {round(1 - rate, 4)}, {shape})',
                f"{x} = jnp.where(keep, {x} / {round(1 - rate, 4)}, 0)",
            ]
            on = "True" if off == "False" else self._value("training")
            scope.call += [f"if {on}:", *indented(lines)]
        else:
            made = f"{'nnx' if self.nnx else 'nn'}.Dropout({layers.dropout(node, self.style)})"
            scope.call.append(f"{x} = {self._layer(scope, node, made, x, given)}")
