"""The connection before each call: the tensors from which it may compute, and the cause of its difference."""

import dataclasses

import numpy as np

from parity.diagnose.evidence import Evidence, PairedCall
from parity.diagnose.families.activation import CLASSES, Activation
from parity.diagnose.families.connections import ConnectionProblem, ConnectionSetting
from parity.diagnose.families.loss import explain_loss
from parity.diagnose.identify import Difference, Identified, Side, identify, nearest
from parity.diagnose.joining import REVERSED, Join
from parity.diagnose.pattern import channel_lines
from parity.diagnose.words import number_words
from parity.matching.calls import unpaired_leaves

# The most sources that are collected; the search itself joins fewer (`connections.MOST_SOURCES`).
_MOST_SOURCES = 40
# The products of so many of the newest sources with parameters of no layer are sources too.
_MOST_SCALED = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A tensor from which a connection may compute, with its values on both sides.

    Attributes:
        name: in the words of the report.
        torch, flax: the values.
        call: the site whose output the tensor is; for the model's input, the call of the model.
        index: which output of `call`, or which input of `arrival`.
        arrival: the layer that takes the tensor, if the tensor is itself the result of a connection.
        scaled: the source and the parameter whose product the tensor is.
    """

    name: str
    torch: np.ndarray
    flax: np.ndarray
    call: PairedCall | None
    index: int = 0
    arrival: PairedCall | None = None
    scaled: "tuple[Source, np.ndarray] | None" = None


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """The connection that leads to one tensor of a call.

    `what` is "input" before a layer, else "output". `labels` are the model's whole-number inputs, for a loss.
    """

    call: PairedCall
    what: str
    index: int
    sources: tuple[Source, ...]
    problem: ConnectionProblem
    sides: tuple[Side, Side]
    labels: tuple[np.ndarray, ...] = ()


def segment_to(evidence: Evidence, call: PairedCall, index: int) -> Segment | None:
    """The problem of the connection before a call, or None if nothing floating was recorded there."""
    what = "input" if call.role == "layer" else "output"
    sources = sources_of(evidence, call)
    if not sources:
        return None
    torch_side = evidence.target("torch", call, what, [s.torch for s in sources], index)
    flax_side = evidence.target("flax", call, what, [s.flax for s in sources], index)
    if torch_side is None or flax_side is None:
        return None
    problem = ConnectionProblem(
        tuple(s.name for s in sources),
        tuple(s.torch.shape for s in sources),
        torch_side.shape,
        tuple(s.flax.shape for s in sources),
        flax_side.shape,
        _likely(evidence, call),
    )
    return Segment(call, what, index, sources, problem, (torch_side, flax_side), _labels(evidence))


def _labels(evidence: Evidence) -> tuple[np.ndarray, ...]:
    root = evidence.calls[-1]
    inputs = [evidence.value("torch", root, "input", index) for index in range(root.torch.inputs)]
    return tuple(x for x in inputs if x is not None and np.issubdtype(x.dtype, np.integer) and x.ndim == 1)


def explain_segment(segment: Segment) -> tuple[Identified | None, list[Difference]]:
    """The settings of both sides and their differences; the last resort is Flax's change of PyTorch's result."""
    constants = normalised(segment)
    if constants is not None:
        return None, [constants]
    if segment.sides[0].target.ndim == 0:
        logits = [i for i, source in enumerate(segment.sources) if source.torch.ndim == 2]
        return None, explain_loss(segment.sides, logits, list(segment.labels))
    identified = identify(segment.problem, *segment.sides)
    if identified is not None and identified.flax is not None:
        return identified, segment.problem.differences(identified.torch, identified.flax)
    return identified, _relative(segment)


def normalised(segment: Segment) -> Difference | None:
    """Other constants of the input's normalisation: both sides are lines of the input in each channel."""
    source = next((s for s in segment.sources if s.call is not None and s.call.role == "output"), None)
    if source is None or source.torch.ndim < 2:
        return None
    if any(source.torch.shape != tuple(side.target.shape) for side in segment.sides):
        return None
    torch_lines, flax_lines = (
        channel_lines(source.torch, side.target.numpy(), side.bound) for side in segment.sides
    )
    if torch_lines is None or flax_lines is None or torch_lines == flax_lines:
        return None
    words = _line_words(torch_lines), _line_words(flax_lines)
    return Difference("preprocess-normalise", *words, f"give the layer {words[0]}")


def _line_words(lines: list[tuple[float, float]]) -> str:
    factors, offsets = ([line[i] for line in lines] for i in (0, 1))
    factor, offset = (
        number_words(values[0])
        if len(set(values)) == 1
        else str([float(number_words(value)) for value in values])
        for values in (factors, offsets)
    )
    if (factor, offset) == ("1", "0"):
        return "the input as it is"
    return f"{factor} x input" if offset == "0" else f"{factor} x input + {offset}".replace("+ -", "- ")


def _relative(segment: Segment) -> list[Difference]:
    """The one convention by which Flax changes PyTorch's result, if there is one: a softmax, reversed channels."""
    torch_side, flax_side = segment.sides
    if torch_side.shape != flax_side.shape:
        return []
    problem = dataclasses.replace(
        segment.problem,
        names=("PyTorch's tensor", *segment.problem.names),
        shapes=(torch_side.shape, *segment.problem.shapes),
        flax_shapes=(torch_side.shape, *segment.problem.flax_shapes),
    )
    side = dataclasses.replace(flax_side, inputs=(torch_side.target, *flax_side.inputs))
    start = ConnectionSetting((0,), Join.ONLY)
    change = nearest(problem, [start], side, range(1, 2))
    return [] if change is None else problem.differences(start, change[1])


def sources_of(evidence: Evidence, call: PairedCall) -> tuple[Source, ...]:
    """The tensors that both sides had before a call, the newest first, each once."""
    earlier = [c for c in evidence.calls if c.position < call.position and c.role != "output"]
    sources: list[Source] = []
    for earlier_call in reversed(earlier):
        if len(sources) >= _MOST_SOURCES:
            break
        if earlier_call.flax.key == call.flax.key:
            continue
        sources += _outputs(evidence, earlier_call)
        if earlier_call.role == "layer":
            sources += _layer_inputs(evidence, earlier_call)
    sources += _model_inputs(evidence)
    return _with_products(evidence, _distinct(sources))


def _with_products(evidence: Evidence, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources, each of the newest followed by its products with parameters of no layer (a layer scale)."""
    owners = {call.torch.path for call in evidence.calls if call.role == "layer"}
    bare = {
        name: array.astype(np.float64)
        for name, array in evidence.weights.items()
        if name.rpartition(".")[0] not in owners and np.issubdtype(array.dtype, np.floating)
    }
    extended: list[Source] = []
    for position, source in enumerate(sources):
        extended.append(source)
        for name, array in bare.items() if position < _MOST_SCALED else ():
            scale = _along_channels(array, source.torch.shape)
            if scale is not None:
                product = source.torch * scale, source.flax * scale
                extended.append(Source(f"{name} * {source.name}", *product, None, scaled=(source, scale)))
    return tuple(extended)


def _along_channels(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A parameter with one number for each channel, in a shape that broadcasts; None for any other."""
    if len(shape) < 2 or array.size == 1 or max(array.shape, default=0) != array.size:
        return None
    if array.size == shape[1] and (array.ndim > 1 or len(shape) == 4):
        return array.reshape((1, -1, *(1,) * (len(shape) - 2)))
    return array.reshape(-1) if array.size == shape[-1] else None


def _outputs(evidence: Evidence, call: PairedCall) -> list[Source]:
    # Flax was forced to PyTorch's outputs, unless the call is unforced.
    flax_source = "flax" if call.unforced else "torch"
    sources = []
    for index in range(call.torch.outputs):
        torch_value = evidence.value("torch", call, "output", index)
        flax_value = evidence.value(flax_source, call, "output", index)
        if torch_value is not None and flax_value is not None and torch_value.ndim:
            site = None if call.unforced else call
            sources.append(Source(call.name, torch_value, flax_value, site, index))
    return sources


def _layer_inputs(evidence: Evidence, call: PairedCall) -> list[Source]:
    sources = []
    for index in range(call.torch.inputs):
        torch_value, flax_value = (evidence.value(side, call, "input", index) for side in ("torch", "flax"))
        if torch_value is not None and flax_value is not None and torch_value.ndim:
            sources.append(Source(f"the input of {call.name}", torch_value, flax_value, None, index, call))
    return sources


def _model_inputs(evidence: Evidence) -> list[Source]:
    root = evidence.calls[-1]
    sources = []
    for index in range(root.torch.inputs):
        torch_value, flax_value = (evidence.value(side, root, "input", index) for side in ("torch", "flax"))
        if torch_value is None or flax_value is None or not torch_value.ndim:
            continue
        if not np.issubdtype(torch_value.dtype, np.floating):
            continue
        sources.append(Source("the model's input", torch_value, flax_value, root, index))
        if torch_value.ndim == flax_value.ndim == 4 and torch_value.shape[1] == 3:
            # The reversed image is a source of its own, since it may be scaled or joined before the first layer.
            reversed_values = torch_value[:, ::-1].copy(), flax_value[:, ::-1].copy()
            sources.append(Source(f"the model's input{REVERSED}", *reversed_values, None))
    return sources


def _distinct(sources: list[Source]) -> tuple[Source, ...]:
    """Each tensor once; the name of an output is preferred to that of a layer's input."""
    distinct: list[Source] = []
    for source in sources:
        same = [i for i, s in enumerate(distinct) if s.torch is source.torch or _equal(s.torch, source.torch)]
        if not same:
            distinct.append(source)
        elif distinct[same[0]].call is None and source.call is not None:
            distinct[same[0]] = source
    return tuple(distinct)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))


def _likely(evidence: Evidence, call: PairedCall) -> tuple[Activation, ...]:
    """Activations whose modules PyTorch called between the previous call and this one."""
    torch_calls = evidence.runs.torch64.calls
    connections = {
        torch_call.key for torch_call in unpaired_leaves(evidence.comparison.alignment, evidence.runs.torch64)
    }
    end = call.position - (call.torch.inner if call.role == "layer" else 0)
    start = max((c.position for c in evidence.calls if c.position < end), default=-1)
    activations = [
        CLASSES[torch_call.class_name]
        for torch_call in torch_calls[start + 1 : end]
        if torch_call.key in connections and torch_call.class_name in CLASSES
    ]
    return tuple(dict.fromkeys(activations))


def inside_of(evidence: Evidence, call: PairedCall, index: int) -> Segment | None:
    """A layer without weights as a connection from its inputs to its output."""
    inputs = [evidence.value("torch", call, "input", i) for i in range(call.torch.inputs)]
    known = [x for x in inputs if x is not None and np.issubdtype(x.dtype, np.floating) and x.ndim]
    if not known or len(known) != len(inputs):
        return None
    sources = tuple(Source(f"input {i}", x, x, None, i) for i, x in enumerate(known))
    torch_side, flax_side = (
        evidence.target(side, call, "output", known, index) for side in ("torch", "flax")
    )
    if torch_side is None or flax_side is None:
        return None
    likely = (CLASSES[call.torch.class_name],) if call.torch.class_name in CLASSES else ()
    names, shapes = tuple(s.name for s in sources), tuple(x.shape for x in known)
    problem = ConnectionProblem(names, shapes, torch_side.shape, shapes, flax_side.shape, likely)
    return Segment(call, "output", index, sources, problem, (torch_side, flax_side))
