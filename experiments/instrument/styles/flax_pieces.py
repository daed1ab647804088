"""The layers of a port one by one: how each is made and called."""

from experiments.instrument.styles import flax_layers as layers
from experiments.instrument.styles.flax_moded import Moded
from experiments.instrument.styles.network import (
    Act,
    Block,
    Bound,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Mean,
    Node,
    Norm,
    Pool,
    Scale,
    Twice,
    walk,
)
from experiments.instrument.styles.scope import Scope, indented

_CLIPPED_GRADIENT = '''
@jax.custom_vjp
def clipped_gradient(x):
    """The number itself; its gradient is bounded."""
    return x


clipped_gradient.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -100.0, 100.0),))
'''


class Pieces(Moded):
    """What `FlaxWriter` writes for a node that is no block."""

    # Partials

    def _partials(self, net: Scope) -> None:
        """Norms and convolutions by `functools.partial`: inside of a compact call, else beside the classes."""
        if not self.style.partial:
            return
        library = "nnx" if self.nnx else "nn"
        convs = [node for node in walk(self.network.nodes) if isinstance(node, Conv)]
        norms = [node for node in walk(self.network.nodes) if isinstance(node, Norm)]
        made = {"conv": f"functools.partial({library}.Conv, use_bias={convs[0].bias})"}
        self.common = {"conv": {"use_bias"}}
        if norms and not self._by_hand(norms[0]):
            name, _ = layers.norm(norms[0], self.style, set())
            options = {"epsilon": "1e-05"}
            if name == "BatchNorm":
                options["momentum"] = "0.9"
            self.common["norm"] = set(options)
            made["norm"] = (
                f"functools.partial({library}.{name}, {', '.join(f'{k}={v}' for k, v in options.items())})"
            )
        if self.style.api == "compact":
            net.call += [f"{name} = {text}" for name, text in made.items()]
        else:
            for name, text in made.items():
                self.text.use(f"make_{name}", f"make_{name} = {text}")

    # Activations

    def _act(self, kind: str, x: str) -> str:
        call, plain = layers.ACTS[kind]
        module = "jax.nn" if self.style.functional else "nnx" if self.nnx else "nn"
        if self.style.inside == "function" and plain:
            return f"jax.jit({module}.{plain})({x})"
        return f"{module}.{call.format(x=x)}"

    def _field_act(self) -> str:
        """What a block is given as its activation: a plain function."""
        kind = next(node.kind for node in walk(self.network.nodes) if isinstance(node, Act))
        return f"lambda x: {self._act(kind, 'x')}"

    def _activation(self, node: Act, x: str) -> str:
        plants = {
            "relu-maximum": f"jnp.maximum({x}, 0)",
            "relu-where": f"jnp.where({x} >= 0, {x}, 0)",
            "bound-extra": f"jnp.clip({self._act(node.kind, x)}, -30.0, 30.0)",
            "activation": self._act("silu" if node.kind == "gelu" else "gelu", x),
            "gelu-approximation": f"jax.nn.gelu({x})",
        }
        if node.plant == "gradient-clipped":
            self.text.use("clipped_gradient", _CLIPPED_GRADIENT)
            return f"clipped_gradient({self._act(node.kind, x)})"
        if node.plant in plants:
            return plants[node.plant]
        first = next(n.kind for n in walk(self.network.nodes) if isinstance(n, Act))
        if self.style.fields and not self.top and node.kind == first:
            return f"self.act({x})"
        return self._act(node.kind, x)

    # Layers

    def _item(self, node: Node) -> str:
        """A layer or a function, as a `Sequential` takes it."""
        if isinstance(node, Conv):
            options = layers.convolution(node, self.style, self.common.get("conv", set()))
            return f"{self._head('conv', 'Conv')}({options})"
        if isinstance(node, Norm):
            name, options = layers.norm(node, self.style, self.common.get("norm", set()))
            return f"{self._head('norm', name)}({options})"
        assert isinstance(node, Act)
        return f"lambda x: {self._act(node.kind, 'x')}"

    def _is_sequence(self, node: Node) -> bool:
        """Whether a block can be a `Sequential`: nothing in it is told the mode, padded by hand or has a defect."""
        return (
            self.style.sequential
            and isinstance(node, Block)
            and not any(
                inner.plant or (isinstance(inner, Norm) and inner.kind == "batch") for inner in node.nodes
            )
            and self.style.padding != "hand"
            and self.style.pin != "cast"
        )

    def _sequence(self, scope: Scope, node: Node, name: str, x: str) -> None:
        assert isinstance(node, Block)
        items = [self._item(inner) for inner in node.nodes]
        opening, closing = ("nnx.Sequential(", ")") if self.nnx else ("nn.Sequential([", "])")
        text = f"{opening}{', '.join(items)}{closing}"
        if self.style.api == "compact":
            text = text if self.style.names == "auto" else f'{text[:-1]}, name="{name}")'
            scope.call.append(f"{x} = {text}({x})")
        else:
            scope.made.append(f"self.{name} = {text}")
            scope.call.append(f"{x} = self.{name}({x})")

    def _one(self, scope: Scope, node: Node, x: str) -> None:
        if isinstance(node, Conv):
            self._conv(scope, node, x)
        elif isinstance(node, Norm):
            self._norm(scope, node, x)
        elif isinstance(node, Act):
            scope.call.append(f"{x} = {self._activation(node, x)}")
        elif isinstance(node, Dropout):
            self._dropout(scope, node, x)
        elif isinstance(node, Pool):
            self._pool(scope, node, x)
        elif isinstance(node, Bound):
            if node.plant != "bound-missing":
                scope.call.append(f"{x} = jnp.clip({x}, -{node.limit}, {node.limit})")
        elif isinstance(node, Scale):
            self._scale(scope, node, x)
        elif isinstance(node, Dense):
            cast = f"{x}.astype(jnp.float32)" if self.style.pin == "cast" else x
            dense = f"{'nnx.Linear' if self.nnx else 'nn.Dense'}({layers.dense(node, self.style)})"
            scope.call.append(f"{x} = {self._layer(scope, node, dense, cast)}")
        else:
            self._flat(scope, node, x)

    def _flat(self, scope: Scope, node: Node, x: str) -> None:
        if isinstance(node, Flatten):
            order = x if node.plant == "flatten-order" else f"jnp.transpose({x}, (0, 3, 1, 2))"
            scope.call.append(f"{x} = {order}.reshape({x}.shape[0], -1)")
        elif isinstance(node, Mean):
            _, h, w = node.shape
            if node.plant == "fixed-window":
                library = "nnx" if self.nnx else "nn"
                scope.call.append(f"{x} = {library}.avg_pool({x}, ({h}, {w}))[:, 0, 0]")
            elif self.style.inside == "scan":
                scope.call += [
                    f"rows = jnp.moveaxis({x}, 1, 0)",
                    "total, _ = jax.lax.scan(lambda sum, row: (sum + row.mean(1), None), "
                    "jnp.zeros((rows.shape[1], rows.shape[3]), rows.dtype), rows)",
                    f"{x} = total / rows.shape[0]",
                ]
            else:
                scope.call.append(f"{x} = jnp.mean({x}, axis=(1, 2))")
        if self.style.output != "array":
            scope.call.append(f"features = {x}")

    def _conv(self, scope: Scope, node: Conv, x: str) -> None:
        p = node.padding
        if self.style.fused and self.style.own_kernel and not self.top and node.plant in ("", "bias-missing"):
            self._own_convolution(scope, node, x)
            return
        if p and self.style.padding == "hand" and node.plant != "padding-side":
            scope.call.append(f"{x} = jnp.pad({x}, ((0, 0), ({p}, {p}), ({p}, {p}), (0, 0)))")
        made = f"{self._head('conv', 'Conv')}({layers.convolution(node, self.style, self.common.get('conv', set()))})"
        scope.call.append(f"{x} = {self._layer(scope, node, made, x)}")

    def _own_convolution(self, scope: Scope, node: Conv, x: str) -> None:
        """A kernel of the class itself, and `jax.lax`."""
        k, p, d = node.kernel, node.padding, node.dilation
        shape = f"({k}, {k}, {node.cin // node.groups}, {node.cout})"
        bias = node.bias and node.plant != "bias-missing"
        if self.nnx:
            scope.made.append(
                f"self.kernel = nnx.Param(nnx.initializers.lecun_normal()(rngs.params(), {shape}))"
            )
            scope.made += [f"self.bias = nnx.Param(jnp.zeros({node.cout}))"] * bias
            kernel, added = "self.kernel[...]", "self.bias[...]"
        else:
            made = [f'self.param("kernel", nn.initializers.lecun_normal(), {shape})']
            made += [f'self.param("bias", nn.initializers.zeros, ({node.cout},))'] * bias
            if self.style.api == "setup":
                scope.made += [
                    f"self.{name} = {text}" for name, text in zip(("kernel", "bias"), made, strict=False)
                ]
                kernel, added = "self.kernel", "self.bias"
            else:
                scope.call += [
                    f"{name} = {text}" for name, text in zip(("kernel", "bias"), made, strict=False)
                ]
                kernel, added = "kernel", "bias"
        scope.call += [
            f"{x} = jax.lax.conv_general_dilated(",
            *indented([f"{x}, {kernel}, ({node.stride}, {node.stride}), (({p}, {p}), ({p}, {p})),"]),
            *indented([f"rhs_dilation=({d}, {d}), feature_group_count={node.groups},"]),
            *indented(['dimension_numbers=("NHWC", "HWIO", "NHWC"),']),
            ")",
        ]
        scope.call += [f"{x} = {x} + {added}"] * bias

    def _pool(self, scope: Scope, node: Pool, x: str) -> None:
        k, s, p = node.window, node.stride, node.padding
        pairs = "'SAME'" if node.plant in ("pool-side", "pool-ceil") else f"(({p}, {p}), ({p}, {p}))"
        if node.plant == "pool-zeros":
            scope.call.append(f"{x} = jnp.pad({x}, ((0, 0), ({p}, {p}), ({p}, {p}), (0, 0)))")
            pairs = "'VALID'"
        counted = node.counted != (node.plant == "pool-count")
        if self.style.functional and not node.plant and (node.kind == "max" or counted):
            start, rule = ("-jnp.inf", "max") if node.kind == "max" else ("0.0", "add")
            sizes = f"(1, {k}, {k}, 1), (1, {s}, {s}, 1), ((0, 0), ({p}, {p}), ({p}, {p}), (0, 0))"
            window = f"jax.lax.reduce_window({x}, {start}, jax.lax.{rule}, {sizes})"
            scope.call.append(f"{x} = {window}{'' if node.kind == 'max' else f' / {k * k}'}")
            return
        extra = "" if node.kind == "max" else f", count_include_pad={counted}"
        library = "nnx" if self.nnx else "nn"
        scope.call.append(
            f"{x} = {library}.{node.kind}_pool({x}, ({k}, {k}), strides=({s}, {s}), padding={pairs}{extra})"
        )

    def _scale(self, scope: Scope, node: Scale, x: str) -> None:
        text, name = layers.SCALES["nnx" if self.nnx else "linen"], "Gain"
        if node.plant == "frozen":
            name = "FrozenGain"
            text = text.replace("Gain", name).replace(
                "self.scale[...]", "jax.lax.stop_gradient(self.scale[...])"
            )
            text = text.replace(
                'self.param("scale", nn.initializers.constant(0.5), (x.shape[-1],))',
                'jax.lax.stop_gradient(self.param("scale", nn.initializers.constant(0.5), (x.shape[-1],)))',
            )
        self.text.use(name, text)
        made = f"{name}({node.channels if self.nnx else ''})"
        scope.call.append(f"{x} = {self._layer(scope, node, made, x)}")

    def _twice(self, scope: Scope, node: Twice, x: str) -> None:
        """One convolution, called twice."""
        conv, p = node.conv, node.conv.padding
        made = f"{self._head('conv', 'Conv')}({layers.convolution(conv, self.style, self.common.get('conv', set()))})"
        if self.style.api == "compact":
            name = f', name="{self.names.of(conv.name)}"' if self.style.names != "auto" else ""
            scope.call.append(f"shared = {made[:-1]}{name})")
            calls = ["shared", "shared"]
            if node.plant == "untied":
                name = f', name="{self.names.of(conv.name)}_again"' if name else ""
                scope.call.append(f"other = {made[:-1]}{name})")
                calls[1] = "other"
        else:
            attribute = self.names.of(conv.name)
            scope.made.append(f"self.{attribute} = {made}")
            calls = [f"self.{attribute}"] * 2
            if node.plant == "untied":
                scope.made.append(f"self.{attribute}_again = {made}")
                calls[1] = f"self.{attribute}_again"
        for call in calls:
            if p and self.style.padding == "hand":
                scope.call.append(f"{x} = jnp.pad({x}, ((0, 0), ({p}, {p}), ({p}, {p}), (0, 0)))")
            scope.call += [f"{x} = {call}({x})", f"{x} = {self._activation(node.act, x)}"]
