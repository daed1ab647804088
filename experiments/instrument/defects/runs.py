"""Runs both models of a pair directly, without the instrument: outputs, gradients and new state, as NumPy arrays."""

import dataclasses
from typing import Any

import jax
import numpy as np
import torch
from flax import nnx, traverse_util

from experiments.instrument.defects import taps
from experiments.instrument.defects.carry import to_flax, to_torch
from experiments.instrument.defects.flax_side import flax_model
from experiments.instrument.defects.graph import Graph, Node, walk
from experiments.instrument.defects.torch_side import TorchGraph, with_exact_derivatives

# The value of a parameter that PyTorch lacks. It is not the initial value, which training would change.
FOREIGN = 0.7
# Each program runs once, so that XLA's optimisations would not pay.
QUICK = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a side. Names and layouts are PyTorch's, but `output` and `layers` have the side's own layout.

    Attributes:
        output: the output of the model.
        layers: the outputs of the modules, in the order in which they finished.
        gradients: by trained parameter and for "input": the gradient of the summed product of output and projection.
        state: the buffers after the run.
    """

    output: np.ndarray
    layers: tuple[np.ndarray, ...]
    gradients: dict[str, np.ndarray]
    state: dict[str, np.ndarray]


def seeded_torch(graph: Graph, seed: int, *, dead: bool = False) -> TorchGraph:
    """PyTorch's model with random weights, scales, biases and statistics, because a constant would hide defects.

    With `dead`, the weights of the first channel of every layer are zero.
    """
    torch.manual_seed(seed)
    model = TorchGraph(graph)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            leaf = name.rpartition(".")[2]
            if leaf == "running_var" or (leaf == "weight" and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif leaf in {"running_mean", "bias"}:
                tensor.normal_(0.0, 0.2)
            elif dead and leaf == "weight":
                tensor[0] = 0.0
    return model


def masks_for_dropout(graph: Graph, train: bool) -> Graph:
    """The graph with a fixed draw for every dropout in training, and without dropout in evaluation."""

    def change(node: Node) -> Node:
        if node.kind == "block":
            return node.changed(graph=masks_for_dropout(node.options["graph"], train))
        if node.kind != "dropout":
            return node
        return dataclasses.replace(node, kind="masked" if train else "same")

    return dataclasses.replace(graph, nodes=tuple(change(node) for node in graph.nodes))


def run_torch(graph: Graph, source: TorchGraph, inputs: list[np.ndarray], dtype: str, *, train: bool) -> Run:
    """Run the PyTorch side."""
    model = TorchGraph(masks_for_dropout(graph, train))
    model.load_state_dict(source.state_dict())
    model = with_exact_derivatives(model).to(getattr(torch, dtype)).train(train)
    tensors = [torch.from_numpy(x.astype(dtype) if x.dtype.kind == "f" else x) for x in inputs]
    tensors[0].requires_grad_()
    with taps.listening() as layers:
        output = model(*tensors)
    (output * torch.from_numpy(_projection(tuple(output.shape)).astype(dtype))).sum().backward()
    gradients = {name: _array(p.grad) for name, p in model.named_parameters() if p.grad is not None}
    gradients["input"] = _array(tensors[0].grad)
    state = {name: _array(b) for name, b in model.named_buffers() if b.is_floating_point()}
    return Run(_array(output), tuple(_array(y) for y in layers), gradients, state)


def run_flax(
    graph: Graph,
    style: str,
    source: TorchGraph,
    inputs: list[np.ndarray],
    dtype: str,
    *,
    train: bool,
    output_shape: tuple[int, ...],
    backward: bool = True,
) -> Run:
    """Run the Flax side with PyTorch's weights; without `backward`, no gradients are computed."""
    graph = masks_for_dropout(graph, train)
    arrays = {name: t.numpy().astype(dtype) for name, t in source.state_dict().items()}
    # A layer may pin a dtype, and Linen makes its first parameters in float32.
    with jax.enable_x64(dtype == "float64"), jax.numpy_dtype_promotion("standard"):
        own = [np.moveaxis(x, 1, -1) if x.ndim == 4 else x for x in inputs]
        own = [jax.numpy.asarray(x.astype(dtype) if x.dtype.kind == "f" else x) for x in own]
        function, params, state = _functional(graph, style, own, train)
        carried = to_flax(graph, arrays)
        params = {name: _filled(name, value, carried, dtype) for name, value in params.items()}
        state = {name: _filled(name, value, carried, dtype) for name, value in state.items()}
        projection = _projection(output_shape).astype(dtype)
        projection = np.moveaxis(projection, 1, -1) if len(output_shape) == 4 else projection

        def loss(params: Any, x: Any, rest: Any) -> Any:
            with taps.listening() as layers:
                output, after = function(params, state, [x, *rest])
            weights = projection if output.shape == projection.shape else np.ones((), dtype)
            return (output * weights).sum(), (output, list(layers), after)

        if not backward:
            forward = jax.jit(loss, compiler_options=QUICK)
            _, (output, layers, after) = jax.device_get(forward(params, own[0], own[1:]))
            return Run(np.asarray(output), tuple(layers), {}, to_torch(graph, after))
        gradient = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True), compiler_options=QUICK)
        (of_params, of_input), (output, layers, after) = jax.device_get(gradient(params, own[0], own[1:]))
    gradients = to_torch(graph, of_params)
    gradients["input"] = np.moveaxis(of_input, -1, 1) if of_input.ndim == 4 else of_input
    return Run(np.asarray(output), tuple(layers), gradients, to_torch(graph, after))


def moded(*graphs: Graph) -> bool:
    """Whether training and evaluation differ in any of the graphs: with statistics or dropout in it."""
    return any(node.kind in ("batch_norm", "dropout") for graph in graphs for _, node in walk(graph))


def trained(graph: Graph) -> frozenset[str]:
    """The bare parameters of a graph that are trained."""
    return frozenset(
        p for p, node in walk(graph) if node.kind == "scale" and node.options.get("trained", True)
    )


def _functional(
    graph: Graph, style: str, inputs: list[Any], train: bool
) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """(params, state, inputs) -> (output, state after), and the shapes of the flat params and state."""
    if style == "linen":
        model = flax_model(graph, style)
        variables = jax.eval_shape(model.init, jax.random.key(0), *inputs)
        flat = {kind: traverse_util.flatten_dict(tree, sep=".") for kind, tree in variables.items()}
        kinds = {name: kind for kind, tree in flat.items() if kind != "params" for name in tree}

        def run(params: Any, state: Any, inputs: Any) -> Any:
            given = {"params": traverse_util.unflatten_dict(params, sep=".")}
            for kind in set(kinds.values()):
                part = {name: value for name, value in state.items() if kinds[name] == kind}
                given[kind] = traverse_util.unflatten_dict(part, sep=".")
            output, after = model.apply(given, *inputs, train=train, mutable=sorted(set(kinds.values())))
            changed = {
                n: v for tree in after.values() for n, v in traverse_util.flatten_dict(tree, sep=".").items()
            }
            return output, {**state, **changed}

        return run, flat.get("params", {}), {name: flat[kind][name] for name, kind in kinds.items()}
    model = nnx.eval_shape(lambda: flax_model(graph, style))
    model.train() if train else model.eval()
    structure, params, state = nnx.split(model, nnx.Param, ...)

    def run_nnx(params: Any, state: Any, inputs: Any) -> Any:
        copy = nnx.merge(structure, _state(params, nnx.Param), _state(state, nnx.BatchStat), copy=True)
        output = copy(*inputs)
        return output, _named(nnx.split(copy, nnx.Param, ...)[2])

    return run_nnx, *(
        {".".join(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(s)} for s in (params, state)
    )


def _named(state: nnx.State) -> dict[str, Any]:
    return {".".join(map(str, path)): leaf[...] for path, leaf in nnx.to_flat_state(state)}


def _state(arrays: dict[str, Any], kind: type) -> nnx.State:
    return nnx.from_flat_state([(tuple(name.split(".")), kind(value)) for name, value in arrays.items()])


def _filled(name: str, value: Any, carried: dict[str, np.ndarray], dtype: str) -> Any:
    array = carried[name] if name in carried else np.full(value.shape, FOREIGN, dtype)
    return jax.numpy.asarray(array)


def _projection(shape: tuple[int, ...]) -> np.ndarray:
    sizes, signs = np.random.default_rng(11), np.random.default_rng(12)
    return np.asarray(sizes.uniform(0.5, 1.5, shape) * signs.choice([-1, 1], shape))


def _array(tensor: Any) -> np.ndarray:
    return tensor.detach().numpy().copy()
