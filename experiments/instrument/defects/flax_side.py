"""The Flax models of a graph: an NNX module and a Linen module."""

from typing import Any

import jax.numpy as jnp
from flax import linen, nnx

from experiments.instrument.defects import flax_layers as layers
from experiments.instrument.defects import taps
from experiments.instrument.defects.flax_functions import FUNCTIONS, Array
from experiments.instrument.defects.graph import MODULES, Graph, Node

STYLES = ("nnx", "linen")


class _Buffer(nnx.Variable):
    """A constant, which is not trained."""


def flax_model(graph: Graph, style: str) -> Any:
    """The model of a graph in a style, "nnx" or "linen"."""
    return NnxGraph(graph, nnx.Rngs(0)) if style == "nnx" else LinenGraph(graph)


class NnxGraph(nnx.Module):
    """Runs a graph; images are [n, h, w, c]."""

    def __init__(self, graph: Graph, rngs: nnx.Rngs) -> None:
        self.graph = graph
        for node in graph.nodes:
            if node.kind in MODULES:
                setattr(self, node.name, _nnx_module(node, rngs))
            elif node.kind == "scale":
                o = node.options
                kind = nnx.Param if o.get("trained", True) else _Buffer
                setattr(self, node.name, kind(jnp.ones((o["channels"],))))

    def __call__(self, *inputs: Array) -> Array:
        """The result of the last node."""

        def call(node: Node, *taken: Array) -> Array:
            own = getattr(self, node.options.get("uses", node.name))
            return own(*taken)

        return _run(self.graph, inputs, call, lambda node: getattr(self, node.name)[...])


class LinenGraph(linen.Module):
    """Runs a graph; images are [n, h, w, c]."""

    graph: Graph

    def setup(self) -> None:
        """Make the layers."""
        for node in self.graph.nodes:
            if node.kind in MODULES:
                setattr(self, node.name, _linen_module(node))
            elif node.kind == "scale":
                o = node.options
                shape = (o["channels"],)
                if o.get("trained", True):
                    value = self.param(node.name, linen.initializers.ones, shape)
                else:
                    value = self.variable("constants", node.name, jnp.ones, shape).value
                setattr(self, f"_{node.name}", value)

    def __call__(self, *inputs: Array, train: bool = False) -> Array:
        """The result of the last node."""

        def call(node: Node, *taken: Array) -> Array:
            own = getattr(self, node.options.get("uses", node.name))
            if node.kind == "dropout":
                return own(*taken, deterministic=not train)
            moded = node.kind in ("block", "batch_norm", "module")
            return own(*taken, train=train) if moded else own(*taken)

        return _run(self.graph, inputs, call, lambda node: getattr(self, f"_{node.name}"))


def _run(graph: Graph, inputs: tuple[Array, ...], call: Any, scale: Any) -> Array:
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        taken = [values[name] for name in node.inputs]
        if node.kind in MODULES:
            values[node.name] = call(node, *taken)
            taps.record(values[node.name])
        elif node.kind == "scale":
            by = scale(node)
            dropped = node.options.get("dropped")
            values[node.name] = (
                taken[0] if dropped else taken[0] * by.reshape((1,) * (taken[0].ndim - 1) + (-1,))
            )
        else:
            values[node.name] = FUNCTIONS[node.kind](node, *taken)
    return values[graph.nodes[-1].name]


def _pads(o: dict[str, Any]) -> Any:
    p = o["padding"]
    return p if isinstance(p, str) else ((p, p), (p, p))


def _transposed_pads(o: dict[str, Any]) -> Any:
    start = o["kernel"] - 1 - o["padding"]
    return ((start, start + o["output_padding"]),) * 2


def _norm_options(o: dict[str, Any]) -> dict[str, Any]:
    return {
        "epsilon": o["epsilon"],
        "use_scale": o.get("use_scale", True),
        "use_bias": o.get("use_bias", True),
        "dtype": o.get("dtype"),
    }


def _convolution(o: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernel_size": (o["kernel"],) * 2,
        "strides": (o["stride"],) * 2,
        "padding": _pads(o),
        "kernel_dilation": (o["dilation"],) * 2,
        "feature_group_count": o["groups"],
        "use_bias": o["bias"],
        "dtype": o.get("dtype"),
    }


def _transposed(o: dict[str, Any]) -> dict[str, Any]:
    return {
        "kernel_size": (o["kernel"],) * 2,
        "strides": (o["stride"],) * 2,
        "padding": _transposed_pads(o),
        "transpose_kernel": True,
        "use_bias": o["bias"],
    }


def _nnx_module(node: Node, rngs: nnx.Rngs) -> nnx.Module:
    return _NNX[node.kind](node.options, rngs)


def _nnx_conv(o: dict[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    kind = layers.NnxConv if o.get("reading") else nnx.Conv
    return _reading(kind(o["inputs"], o["outputs"], **_convolution(o), rngs=rngs), o)


def _nnx_linear(o: dict[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    kind = layers.NnxLinear if o.get("reading") else nnx.Linear
    made = kind(o["inputs"], o["outputs"], use_bias=o["bias"], dtype=o.get("dtype"), rngs=rngs)
    return _reading(made, o)


def _nnx_transposed(o: dict[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    kind = layers.NnxConvTranspose if o.get("reading") else nnx.ConvTranspose
    return _reading(kind(o["inputs"], o["outputs"], **_transposed(o), rngs=rngs), o)


def _reading(layer: Any, o: dict[str, Any]) -> nnx.Module:
    if o.get("reading"):
        layer.reading = o["reading"]
    return layer


def _nnx_batch_norm(o: dict[str, Any], rngs: nnx.Rngs) -> nnx.Module:
    norm = layers.NnxBatchNorm(o["channels"], **_norm_options(o), rngs=rngs)
    norm.settings = tuple(o.items())
    norm.mean[...] = norm.mean[...] + o.get("touched", 0.0)
    return norm


_TWO_PASS = {"use_fast_variance": False}
_NNX: dict[str, Any] = {
    "conv": _nnx_conv,
    "linear": _nnx_linear,
    "batch_norm": _nnx_batch_norm,
    "conv_transpose": _nnx_transposed,
    "group_norm": lambda o, rngs: nnx.GroupNorm(
        o["channels"], o["groups"], **_norm_options(o), **_TWO_PASS, rngs=rngs
    ),
    "layer_norm": lambda o, rngs: nnx.LayerNorm(o["channels"], **_norm_options(o), **_TWO_PASS, rngs=rngs),
    "dropout": lambda o, rngs: nnx.Dropout(o["rate"], rngs=nnx.Rngs(dropout=0)),
    "block": lambda o, rngs: NnxGraph(o["graph"], rngs),
    "module": lambda o, rngs: o["flax"]("nnx", rngs),
}


def _linen_module(node: Node) -> linen.Module:
    return _LINEN[node.kind](node.options)


def _linen_conv(o: dict[str, Any]) -> linen.Module:
    if o.get("reading"):
        return layers.LinenConv(tuple(o.items()))
    return linen.Conv(o["outputs"], **_convolution(o))


def _linen_dense(o: dict[str, Any]) -> linen.Module:
    if o.get("reading"):
        return layers.LinenDense(tuple(o.items()))
    return linen.Dense(o["outputs"], use_bias=o["bias"], dtype=o.get("dtype"))


def _linen_transposed(o: dict[str, Any]) -> linen.Module:
    if o.get("reading"):
        return layers.LinenConvTranspose(tuple(o.items()), _transposed_pads(o))
    return linen.ConvTranspose(o["outputs"], **_transposed(o))


_LINEN: dict[str, Any] = {
    "conv": _linen_conv,
    "linear": _linen_dense,
    "batch_norm": lambda o: layers.LinenBatchNorm(tuple(o.items())),
    "conv_transpose": _linen_transposed,
    "group_norm": lambda o: linen.GroupNorm(num_groups=o["groups"], **_norm_options(o), **_TWO_PASS),
    "layer_norm": lambda o: linen.LayerNorm(**_norm_options(o), **_TWO_PASS),
    "dropout": lambda o: linen.Dropout(o["rate"]),
    "block": lambda o: LinenGraph(o["graph"]),
    "module": lambda o: o["flax"]("linen", None),
}
