"""The connection before each place: what it may be made of, and what makes it differ."""

import dataclasses

import numpy as np

from parity.diagnose.evidence import Evidence, Place
from parity.diagnose.families.activation import CLASSES
from parity.diagnose.families.connections import ConnectionProblem, ConnectionSetting
from parity.diagnose.families.loss import explain_loss
from parity.diagnose.identify import Difference, Identified, Side, identify, nearest
from parity.diagnose.joining import REVERSED, Join
from parity.diagnose.pattern import channel_lines
from parity.diagnose.words import number_words
from parity.matching.calls import unpaired_leaves

# So many candidates are looked at, newest first; the connection's own limit then says how many of them may join.
_MOST_LOOKED_AT = 40
# The newest sources, whose products with bare parameters are sources too.
_MOST_SCALED = 3


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A tensor from which connection may compute, with its values on both sides.

    `place` is the site whose output it is (of the model: its input); `arrival` the layer that takes it, where
    it is itself the result of connection; `scaled` the source and the bare parameter of which it is the product.
    """

    name: str
    torch: np.ndarray
    flax: np.ndarray
    place: Place | None
    index: int = 0
    arrival: Place | None = None
    scaled: "tuple[Source, np.ndarray] | None" = None


@dataclasses.dataclass(frozen=True, eq=False)
class Segment:
    """The connection that leads to one tensor of a place: `what` is "input" before a layer, else "output"."""

    place: Place
    what: str
    index: int
    sources: tuple[Source, ...]
    problem: ConnectionProblem
    sides: tuple[Side, Side]
    # The model's whole-number inputs, for a loss.
    labels: tuple[np.ndarray, ...] = ()


def segment_to(evidence: Evidence, place: Place, index: int) -> Segment | None:
    """The problem of the connection before a place, or None if nothing floating was recorded there."""
    what = "input" if place.role == "layer" else "output"
    sources = sources_of(evidence, place)
    if not sources:
        return None
    sides = (
        evidence.target("torch", place, what, [s.torch for s in sources], index),
        evidence.target("flax", place, what, [s.flax for s in sources], index),
    )
    if sides[0] is None or sides[1] is None:
        return None
    problem = ConnectionProblem(
        tuple(s.name for s in sources),
        tuple(s.torch.shape for s in sources),
        sides[0].shape,
        tuple(s.flax.shape for s in sources),
        sides[1].shape,
        _likely(evidence, place),
    )
    return Segment(place, what, index, sources, problem, (sides[0], sides[1]), _labels(evidence))


def _labels(evidence: Evidence) -> tuple[np.ndarray, ...]:
    root = evidence.places[-1]
    inputs = [evidence.value("torch", root, "input", index) for index in range(root.torch.inputs)]
    return tuple(x for x in inputs if x is not None and np.issubdtype(x.dtype, np.integer) and x.ndim == 1)


def explain_segment(segment: Segment) -> tuple[Identified | None, list[Difference]]:
    """What makes the connection differ: identified from its sources, or else relative to PyTorch's own result."""
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
    """Other constants by which the model's input is normalised: both sides are lines of it in each channel."""
    source = next((s for s in segment.sources if s.place is not None and s.place.role == "output"), None)
    if source is None or source.torch.shape != segment.sides[0].shape or source.torch.ndim < 2:
        return None
    lines = [channel_lines(source.torch, side.target.numpy(), side.bound) for side in segment.sides]
    if lines[0] is None or lines[1] is None or lines[0] == lines[1]:
        return None
    words = [_line_words(line) for line in lines if line is not None]
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
    """What Flax does to PyTorch's result, where that is one more convention: a softmax, channels reversed."""
    ours, theirs = segment.sides
    if ours.shape != theirs.shape:
        return []
    problem = dataclasses.replace(
        segment.problem,
        names=("PyTorch's tensor", *segment.problem.names),
        shapes=(ours.shape, *segment.problem.shapes),
        flax_shapes=(ours.shape, *segment.problem.flax_shapes),
    )
    sides = [dataclasses.replace(side, inputs=(ours.target, *side.inputs)) for side in (ours, theirs)]
    start = ConnectionSetting((0,), Join.ONLY)
    change = nearest(problem, [start], sides[1], range(1, 2))
    return [] if change is None else problem.differences(start, change[1])


def sources_of(evidence: Evidence, place: Place) -> tuple[Source, ...]:
    """The tensors that both sides had before a place, the newest first, each once."""
    earlier = [p for p in evidence.places if p.position < place.position and p.role != "output"]
    found: list[Source] = []
    for one in reversed(earlier):
        if len(found) >= _MOST_LOOKED_AT:
            break
        if one.flax.key == place.flax.key:
            continue
        found += _outputs(evidence, one)
        if one.role == "layer":
            found += _arrived(evidence, one)
    found += _inputs(evidence)
    return _with_products(evidence, _distinct(found))


def _with_products(evidence: Evidence, sources: tuple[Source, ...]) -> tuple[Source, ...]:
    """The sources, and beside the newest their products with bare parameters: a layer scale."""
    owners = {place.torch.path for place in evidence.places if place.role == "layer"}
    bare = {
        name: array.astype(np.float64)
        for name, array in evidence.weights.items()
        if name.rpartition(".")[0] not in owners and np.issubdtype(array.dtype, np.floating)
    }
    found: list[Source] = []
    for position, source in enumerate(sources):
        found.append(source)
        for name, array in bare.items() if position < _MOST_SCALED else ():
            shaped = _along_channels(array, source.torch.shape)
            if shaped is not None:
                words = f"{name} * {source.name}"
                pair = source.torch * shaped, source.flax * shaped
                found.append(Source(words, *pair, None, scaled=(source, shaped)))
    return tuple(found)


def _along_channels(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A parameter of one number a channel in a shape that broadcasts, or None if it is none."""
    if len(shape) < 2 or array.size == 1 or max(array.shape, default=0) != array.size:
        return None
    if array.size == shape[1] and (array.ndim > 1 or len(shape) == 4):
        return array.reshape((1, -1, *(1,) * (len(shape) - 2)))
    return array.reshape(-1) if array.size == shape[-1] else None


def _outputs(evidence: Evidence, place: Place) -> list[Source]:
    side = "flax" if place.loose else "torch"
    found = []
    for index in range(place.torch.outputs):
        ours, theirs = (evidence.value(s, place, "output", index) for s in ("torch", side))
        if ours is not None and theirs is not None and ours.ndim:
            found.append(Source(place.name, ours, theirs, None if place.loose else place, index))
    return found


def _arrived(evidence: Evidence, place: Place) -> list[Source]:
    found = []
    for index in range(place.torch.inputs):
        ours, theirs = (evidence.value(s, place, "input", index) for s in ("torch", "flax"))
        if ours is not None and theirs is not None and ours.ndim:
            found.append(Source(f"what {place.name} takes", ours, theirs, None, index, place))
    return found


def _inputs(evidence: Evidence) -> list[Source]:
    root = evidence.places[-1]
    found = []
    for index in range(root.torch.inputs):
        ours, theirs = (evidence.value(s, root, "input", index) for s in ("torch", "flax"))
        if ours is not None and theirs is not None and np.issubdtype(ours.dtype, np.floating) and ours.ndim:
            found.append(Source("the model's input", ours, theirs, root, index))
            if ours.ndim == theirs.ndim == 4 and ours.shape[1] == 3:
                # RGB or BGR, before whatever is done to it.
                words = f"the model's input{REVERSED}"
                found.append(Source(words, ours[:, ::-1].copy(), theirs[:, ::-1].copy(), None))
    return found


def _distinct(sources: list[Source]) -> tuple[Source, ...]:
    """Each tensor once, under the name of the output that it is rather than of the layer that takes it."""
    found: list[Source] = []
    for source in sources:
        same = [i for i, s in enumerate(found) if s.torch is source.torch or _equal(s.torch, source.torch)]
        if not same:
            found.append(source)
        elif found[same[0]].place is None and source.place is not None:
            found[same[0]] = source
    return tuple(found)


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b))


def _likely(evidence: Evidence, place: Place) -> tuple[str, ...]:
    """Activations whose modules PyTorch called between the place before and this one."""
    calls = evidence.runs.torch64.calls
    connections = {call.key for call in unpaired_leaves(evidence.comparison.alignment, evidence.runs.torch64)}
    end = place.position - (place.torch.inner if place.role == "layer" else 0)
    start = max((p.position for p in evidence.places if p.position < end), default=-1)
    names = [
        CLASSES[call.class_name]
        for call in calls[start + 1 : end]
        if call.key in connections and call.class_name in CLASSES
    ]
    return tuple(dict.fromkeys(names))


def inside_of(evidence: Evidence, place: Place, index: int) -> Segment | None:
    """A layer without weights read as connections: its inputs are the sources, its output the target."""
    inputs = [evidence.value("torch", place, "input", i) for i in range(place.torch.inputs)]
    known = [x for x in inputs if x is not None and np.issubdtype(x.dtype, np.floating) and x.ndim]
    if not known or len(known) != len(inputs):
        return None
    sources = tuple(Source(f"input {i}", x, x, None, i) for i, x in enumerate(known))
    sides = [evidence.target(side, place, "output", known, index) for side in ("torch", "flax")]
    if sides[0] is None or sides[1] is None:
        return None
    likely = (CLASSES[place.torch.class_name],) if place.torch.class_name in CLASSES else ()
    shapes = tuple(x.shape for x in known)
    problem = ConnectionProblem(
        tuple(s.name for s in sources), shapes, sides[0].shape, shapes, sides[1].shape, likely
    )
    return Segment(place, "output", index, sources, problem, (sides[0], sides[1]))
