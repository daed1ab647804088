"""Writes a network as a PyTorch module, in one style."""

from experiments.instrument.styles.network import (
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
    Twice,
    walk,
)
from experiments.instrument.styles.scope import Scope, Text, capital, indented
from experiments.instrument.styles.style import Style

_IMPORTS = ["import torch", "import torch.nn.functional as F", "from torch import nn"]
_MODULES = {
    "relu": "nn.ReLU({i})", "gelu": "nn.GELU()", "silu": "nn.SiLU({i})", "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()", "leaky_relu": "nn.LeakyReLU(0.1)", "relu6": "nn.ReLU6({i})",
    "hard_swish": "nn.Hardswish()", "elu": "nn.ELU()",
}  # fmt: skip
_FUNCTIONS = {
    "relu": "F.relu({x})", "gelu": "F.gelu({x})", "silu": "F.silu({x})", "tanh": "torch.tanh({x})",
    "sigmoid": "torch.sigmoid({x})", "leaky_relu": "F.leaky_relu({x}, 0.1)", "relu6": "F.relu6({x})",
    "hard_swish": "F.hardswish({x})", "elu": "F.elu({x})",
}  # fmt: skip
_LAYER_NORM = '''
class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the channels of an image."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
'''
_SCALE = '''
class ChannelScale(nn.Module):
    """A scale of every channel."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), 0.5))

    def forward(self, x):
        return x * self.scale[:, None, None]
'''


class TorchWriter:
    """The text of one network; a class is written when its blocks are."""

    def __init__(self, network: Network, style: Style) -> None:
        self.network, self.style = network, style
        self.text = Text(list(_IMPORTS))
        self.first_conv = True

    def source(self) -> str:
        """The whole module, with a function `build`."""
        net = Scope("Net")
        self._rows(net, self.network.nodes)
        net.call.append(f"return {self._output()}")
        self._finish(net)
        return self.text.finished("def build():\n    return Net()")

    def _output(self) -> str:
        return {
            "array": "x",
            "tuple": "x, features",
        }.get(self.style.output, '{"logits": x, "features": features}')

    def _finish(self, scope: Scope) -> None:
        lines = [f"class {scope.name}(nn.Module):"]
        lines += indented(["def __init__(self):", *indented(["super().__init__()", *scope.made])])
        lines += ["", *indented(["def forward(self, x):", *indented(scope.call)])]
        self.text.classes.append("\n".join(lines))

    def _rows(self, scope: Scope, nodes: tuple[Node, ...]) -> None:
        """The nodes of the network itself; neighbouring blocks may share a list."""
        waiting: list[Node] = []
        for node in (*nodes, None):
            if self.style.torch_nested == "list" and isinstance(node, (Block, Residual, Concat, Twice)):
                waiting.append(node)
                continue
            self._list(scope, waiting)
            waiting = []
            if node is not None:
                self._row(scope, (node,), "x")

    def _list(self, scope: Scope, blocks: list[Node]) -> None:
        if not blocks:
            return
        made = [f"{self._class(block)}()" for block in blocks]
        name = f"stages{sum('ModuleList' in line for line in scope.made) + 1}"
        scope.made.append(f"self.{name} = nn.ModuleList([{', '.join(made)}])")
        scope.call += [f"for stage in self.{name}:", *indented(["x = stage(x)"])]

    def _class(self, node: Node) -> str:
        scope = Scope(capital(node.name))
        self._inline(scope, node, "x")
        scope.call.append("return x")
        self._finish(scope)
        return scope.name

    def _row(self, scope: Scope, nodes: tuple[Node, ...], x: str) -> None:
        """Nodes one after the other, each changing the variable `x`."""
        position = 0
        while position < len(nodes):
            node, after = nodes[position], nodes[position + 1] if position + 1 < len(nodes) else None
            if self.style.torch_fused and isinstance(node, Norm) and isinstance(after, Act):
                scope.made.append(f"self.{node.name} = {self._norm_and_act(node, after)}")
                scope.call.append(f"{x} = self.{node.name}({x})")
                position += 2
                continue
            if isinstance(node, (Block, Residual, Concat, Twice)):
                self._block(scope, node, x)
            else:
                self._one(scope, node, x)
            position += 1

    def _block(self, scope: Scope, node: Node, x: str) -> None:
        if self.style.torch_nested in ("blocks", "list"):
            scope.made.append(f"self.{node.name} = {self._class(node)}()")
            scope.call.append(f"{x} = self.{node.name}({x})")
        elif self.style.torch_nested == "sequential" and isinstance(node, Block):
            modules = [text for inner in node.nodes for text in self._modules(inner)]
            scope.made += [f"self.{node.name} = nn.Sequential(", *indented([f"{m}," for m in modules]), ")"]
            scope.call.append(f"{x} = self.{node.name}({x})")
        else:
            self._inline(scope, node, x)

    def _inline(self, scope: Scope, node: Node, x: str) -> None:
        if isinstance(node, Block):
            self._row(scope, node.nodes, x)
        elif isinstance(node, Residual):
            scope.call.append(f"y = {x}")
            self._row(scope, node.nodes, "y")
            if node.shortcut:
                self._row(scope, node.shortcut, x)
            elif self.style.torch_extras:
                scope.made.append(f"self.{node.name}_shortcut = nn.Identity()")
                scope.call.append(f"{x} = self.{node.name}_shortcut({x})")
            scope.call.append(f"{x} = y + {x}")
            self._row(scope, (node.act,), x)
        elif isinstance(node, Concat):
            names = [f"y{number}" for number in range(len(node.branches))]
            for name, branch in zip(names, node.branches, strict=True):
                scope.call.append(f"{name} = {x}")
                self._row(scope, branch, name)
            scope.call.append(f"{x} = torch.cat([{', '.join(names)}], dim=1)")
        elif isinstance(node, Twice):
            self._row(scope, (node.conv, node.act), x)
            before = len(scope.made)
            self._row(scope, (node.conv, node.act), x)
            del scope.made[before:]

    def _one(self, scope: Scope, node: Node, x: str) -> None:
        """A node that is no block, as a function or as a module."""
        if isinstance(node, Conv):
            self._conv(scope, node, x)
        elif isinstance(node, Bound):
            scope.call.append(f"{x} = torch.clamp({x}, -{node.limit}, {node.limit})")
        elif isinstance(node, (Mean, Flatten)):
            self._flat(scope, node, x)
        elif self.style.torch_functional and isinstance(node, (Act, Pool, Dropout)):
            scope.call.append(f"{x} = {self._function(node, x)}")
        else:
            (module,) = self._modules(node)
            scope.made.append(f"self.{node.name} = {module}")
            scope.call.append(f"{x} = self.{node.name}({x})")

    def _flat(self, scope: Scope, node: Node, x: str) -> None:
        extras, modules = self.style.torch_extras, not self.style.torch_functional
        if isinstance(node, Flatten):
            # A norm over the channels leaves its axes moved, which a view refuses.
            moved = any(isinstance(n, Norm) and n.kind == "layer" for n in walk(self.network.nodes))
            view = f"{x}.{'reshape' if moved else 'view'}({x}.size(0), -1)"
            scope.call.append(f"{x} = {view if extras else f'torch.flatten({x}, 1)'}")
        elif modules and not extras:
            scope.made.append("self.pool = nn.AdaptiveAvgPool2d(1)")
            scope.call.append(f"{x} = self.pool({x}).flatten(1)")
        elif extras:
            scope.call.append(f"{x} = {x}.mean(dim=(2, 3))")
        else:
            scope.call.append(f"{x} = F.adaptive_avg_pool2d({x}, 1)[:, :, 0, 0]")
        if self.style.output != "array":
            scope.call.append(f"features = {x}")

    def _conv(self, scope: Scope, node: Conv, x: str) -> None:
        *pad, conv = self._modules(node)
        if pad and self.style.torch_padding == "F.pad":
            p = node.padding
            scope.call.append(f"{x} = F.pad({x}, ({p}, {p}, {p}, {p}))")
        elif pad:
            scope.made.append(f"self.{node.name}_pad = {pad[0]}")
            scope.call.append(f"{x} = self.{node.name}_pad({x})")
        scope.made.append(f"self.{node.name} = {conv}")
        scope.call.append(f"{x} = self.{node.name}({x})")

    def _function(self, node: Node, x: str) -> str:
        if isinstance(node, Act):
            return _FUNCTIONS[node.kind].format(x=x)
        if isinstance(node, Dropout):
            kind = "dropout2d" if node.channels else "dropout"
            return f"F.{kind}({x}, {node.rate}, self.training)"
        assert isinstance(node, Pool)
        counted = "" if node.kind == "max" else f", count_include_pad={node.counted}"
        return f"F.{node.kind}_pool2d({x}, {node.window}, {node.stride}, {node.padding}{counted})"

    def _modules(self, node: Node) -> list[str]:
        """The constructors of a node's modules."""
        if isinstance(node, Conv):
            by_hand = node.padding and self.style.torch_padding != "argument"
            pad = [f"nn.ZeroPad2d({node.padding})"] if by_hand else []
            return [*pad, self._convolution(node, 0 if by_hand else node.padding)]
        if isinstance(node, Norm):
            return [self._norm(node)]
        if isinstance(node, Act):
            return [_MODULES[node.kind].format(i="inplace=True" if self.style.torch_extras else "")]
        return [self._module(node)]

    def _module(self, node: Node) -> str:
        if isinstance(node, Dropout):
            return f"nn.Dropout{'2d' * node.channels}({node.rate})"
        if isinstance(node, Scale):
            return f"{self.text.use('ChannelScale', _SCALE)}({node.channels})"
        if isinstance(node, Dense):
            return f"nn.Linear({node.cin}, {node.cout})"
        assert isinstance(node, Pool), node
        counted = "" if node.kind == "max" else f", count_include_pad={node.counted}"
        kind = {"max": "Max", "avg": "Avg"}[node.kind]
        return f"nn.{kind}Pool2d({node.window}, {node.stride}, {node.padding}{counted})"

    def _convolution(self, node: Conv, padding: int) -> str:
        options = {"stride": (node.stride, 1), "padding": (padding, 0), "dilation": (node.dilation, 1)}
        options["groups"] = (node.groups, 1)
        words = [f"{name}={value}" for name, (value, default) in options.items() if value != default]
        words += [] if node.bias else ["bias=False"]
        conv = f"nn.Conv2d({', '.join([str(node.cin), str(node.cout), str(node.kernel), *words])})"
        if self.style.weight_norm and self.first_conv:
            self.first_conv = False
            return f"nn.utils.parametrizations.weight_norm({conv})"
        return conv

    def _norm(self, node: Norm) -> str:
        if node.kind == "batch":
            extra = "" if node.momentum == 0.1 else f", momentum={node.momentum}"
            return f"nn.BatchNorm2d({node.channels}{extra})"
        if node.kind == "group":
            return f"nn.GroupNorm({node.groups}, {node.channels})"
        return f"{self.text.use('LayerNorm2d', _LAYER_NORM)}({node.channels})"

    def _norm_and_act(self, norm: Norm, act: Act) -> str:
        """A class that is the norm, with the activation after it."""
        base, _, arguments = self._norm(norm).partition("(")
        name = f"{base.rpartition('.')[2]}{capital(act.kind)}"
        function = _FUNCTIONS[act.kind].format(x="super().forward(x)")
        body = f"class {name}({base}):\n    def forward(self, x):\n        return {function}"
        return f"{self.text.use(name, body)}({arguments}"


def written(network: Network, style: Style) -> str:
    """The text of the PyTorch side."""
    return TorchWriter(network, style).source()
