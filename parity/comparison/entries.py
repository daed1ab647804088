"""Turn the runs of both sides into metrics, and metrics into entries in execution order."""

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from parity.capture.intercept import Forced
from parity.capture.shelf import Lazy, identity, loaded
from parity.capture.trace import Trace
from parity.comparison.metrics import measure
from parity.matching.axes import fits, to_flax, to_torch
from parity.matching.calls import Alignment, Site
from parity.matching.link import Link
from parity.matching.ties import Tie
from parity.matching.weights import WeightPlan
from parity.verdict.policy import EPSILON
from parity.verdict.record import Entry, Metrics, Mode, Phase, Quantity

Key = tuple[str, str, int]
_COTANGENTS = ("input_cotangent", "output_cotangent")


@dataclasses.dataclass(frozen=True)
class Runs:
    """One mode: PyTorch and Flax (free or forced), each in float32 and in float64."""

    torch32: Trace
    torch64: Trace
    flax32: Trace
    flax64: Trace


def forced_sites(alignment: Alignment, torch: Trace, observed: Trace) -> dict[str, Forced]:
    """PyTorch's tensors in Flax's layout, by the key of Flax's call; an array used twice is moved once."""
    moved: dict[Any, Any] = {}

    def move(site: Site, what: str, count: int) -> list[Any]:
        arrays: list[Any] = []
        for index in range(count):
            array = torch.lazily(site.torch, what, index)
            like = observed.get(site.flax, what.removesuffix("_cotangent"), index)
            if array is None or like is None:
                arrays.append(None)
                continue
            dtype = torch.precision(site.torch, what, index)
            key = identity(array), like.shape, site.torch.last_axis, dtype
            if key not in moved:
                moved[key] = _moved(array, like.shape, site.torch.last_axis, dtype)
            arrays.append(moved[key])
        return arrays

    forced = {}
    for site in alignment.sites:
        inputs = site.torch.inputs if site.role == "layer" else 0
        forced[site.flax.key] = Forced(
            inputs=tuple(move(site, "input", inputs)),
            input_cotangents=tuple(move(site, "input_cotangent", inputs)),
            outputs=tuple(move(site, "output", site.torch.outputs)),
            output_cotangents=tuple(move(site, "output_cotangent", site.torch.outputs)),
        )
    return forced


def _moved(array: Any, shape: tuple[int, ...], last_axis: bool, dtype: str | None) -> Any:
    """PyTorch's array in Flax's layout and PyTorch's true dtype; an array on a shelf is read when it is used."""

    def move(loaded: np.ndarray) -> Any:
        moved = to_flax(loaded, shape, last_axis)
        # By JAX, since NumPy by itself knows no bfloat16.
        return moved if moved.dtype == dtype or dtype is None else moved.astype(jnp.dtype(dtype))

    if not isinstance(array, Lazy):
        return move(array)
    if not fits(array.shape, shape):
        return array
    return Lazy(shape, jnp.dtype(dtype or array.dtype), lambda: move(array.load()))


def all_metrics(alignment: Alignment, plan: WeightPlan, runs: Runs, *, forced: bool) -> dict[Key, Metrics]:
    """The metrics of every tensor that both sides recorded, by (call, what, index) or ("", group, position).

    A layer that pins a coarse dtype limits its own precision if the sites are forced, and the precision of every tensor
    if they are not.
    """
    tensors: dict[Key, _Four | None] = {}
    precisions: dict[Key, str] = {}
    own = {site.torch.path: precision_at(runs, site) for site in alignment.sites}
    overall = coarsest(*own.values())
    for site in alignment.sites:
        counts = {"output": site.torch.outputs, "output_cotangent": site.torch.outputs}
        if site.role != "boundary":
            counts |= {"input": site.torch.inputs, "input_cotangent": site.torch.inputs}
        for what, count in counts.items():
            inside = what in ("output", "input_cotangent")
            precision = overall if not forced else own[site.torch.path] if inside else "float64"
            for index in range(count):
                key = site.torch.key, what, index
                tensors[key], precisions[key] = _site_arrays(runs, site, what, index), precision
    for position, link in enumerate(plan.links):
        for group in ("gradient", "state_after"):
            key = "", group, position
            tie = plan.tie_of(link) if group == "gradient" else None
            tensors[key] = _tied_arrays(runs, tie, link) if tie else _link_arrays(runs, link, group)
            owners = [tied.torch.rpartition(".")[0] for tied in (tie.links if tie else (link,))]
            precisions[key] = coarsest(*(own.get(o, "float64") for o in owners)) if forced else overall
    return _measured(tensors, precisions)


class _Four(NamedTuple):
    """The four arrays of one tensor (both sides, both precisions), and the move of Flax's to PyTorch's layout."""

    arrays: tuple[Any, Any, Any, Any]
    layout: Hashable
    to_torch: Callable[[np.ndarray], np.ndarray]

    def identity(self) -> Hashable:
        """Equal for two that have the same metrics."""
        return (*map(identity, self.arrays), self.layout)

    def measure(self, precision: str) -> Metrics:
        """Read the arrays and measure them."""
        b32, b64, a32, a64 = map(loaded, self.arrays)
        return measure(b32, b64, self.to_torch(a32), self.to_torch(a64), precision)


def _measured(tensors: dict[Key, _Four | None], precisions: dict[Key, str]) -> dict[Key, Metrics]:
    """The metrics by key; equal arrays are measured once, since the output of a layer is the input of the next."""
    known = {key: four for key, four in tensors.items() if four is not None}
    alike = {key: (four.identity(), precisions[key]) for key, four in known.items()}
    keys = {same: key for key, same in reversed(alike.items())}
    # NumPy releases the interpreter lock, so that threads use every core.
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        measured = pool.map(lambda key: known[key].measure(precisions[key]), keys.values())
        metrics = dict(zip(keys, measured, strict=True))
    return {key: metrics[same] for key, same in alike.items()}


def precision_at(runs: Runs, site: Site) -> str:
    """The dtype in which the float64 runs computed the outputs at a site."""
    torch = [runs.torch64.precision(site.torch, "output", index) for index in range(site.torch.outputs)]
    flax = [runs.flax64.precision(site.flax, "output", index) for index in range(site.flax.outputs)]
    return common(coarsest(*filter(None, torch)), coarsest(*filter(None, flax)))


def _site_arrays(runs: Runs, site: Site, what: str, index: int) -> _Four | None:
    """The arrays of a tensor at a site; None where they cannot be compared."""
    b32, b64 = (trace.lazily(site.torch, what, index) for trace in (runs.torch32, runs.torch64))
    a32, a64 = (trace.lazily(site.flax, what, index) for trace in (runs.flax32, runs.flax64))
    if b32 is None or b64 is None or a32 is None or a64 is None or not fits(b64.shape, a64.shape):
        return None
    shape, last_axis = b64.shape, site.torch.last_axis
    return _Four((b32, b64, a32, a64), (shape, last_axis), lambda a: to_torch(a, shape, last_axis))


def _link_arrays(runs: Runs, link: Link, group: str) -> _Four | None:
    b32, b64 = (t.arrays.lazily(f"{group}/{link.torch}") for t in (runs.torch32, runs.torch64))
    a32, a64 = (t.arrays.lazily(f"{group}/{link.flax}") for t in (runs.flax32, runs.flax64))
    if b32 is None or b64 is None or a32 is None or a64 is None:
        return None
    return _Four((b32, b64, a32, a64), link.layout, link.layout.to_torch)


def _tied_arrays(runs: Runs, tie: Tie, link: Link) -> _Four | None:
    """The sums of the gradients of weights that one side ties."""
    b32, b64 = (tie.torch_gradient(t.arrays, link) for t in (runs.torch32, runs.torch64))
    a32, a64 = (tie.flax_gradient(t.arrays, link) for t in (runs.flax32, runs.flax64))
    if b32 is None or b64 is None or a32 is None or a64 is None:
        return None
    return _Four((b32, b64, a32, a64), "tied", lambda a: a)


def coarsest(*dtypes: str) -> str:
    """The floating dtype with the largest rounding; whole numbers count as float64, being exact."""
    return max((name for name in dtypes if name in EPSILON), key=EPSILON.__getitem__, default="float64")


def common(torch: str, flax: str) -> str:
    """The dtype by which the tensors of both sides are judged.

    Two tensors of one coarse dtype are judged by that dtype. If only one side has a coarse dtype, both are judged by
    float32, which shows the dtype as a difference.
    """
    if torch == flax:
        return torch
    return "float64" if {torch, flax} <= {"float64"} else "float32"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Both kinds of metrics of one mode."""

    mode: Mode
    alignment: Alignment
    plan: WeightPlan
    torch: Trace
    introduced: dict[Key, Metrics]
    inherited: dict[Key, Metrics]

    def quantity(self, key: Key, name: str, phase: Phase) -> list[Quantity]:
        """A list with the quantity of that key, or an empty list if it was not measured."""
        introduced, inherited = self.introduced.get(key), self.inherited.get(key)
        if introduced is None and inherited is None:
            return []
        return [Quantity(name, phase, introduced, inherited, None)]


def entries(comparison: Comparison) -> list[Entry]:
    """Every layer, the segment before it, and the parameters of no layer, in PyTorch's order."""
    result: list[Entry] = []
    shown: set[int] = set()
    previous = "input"
    pending = _cotangents_of_inputs(comparison)
    for site in comparison.alignment.sites:
        result.append(_segment(comparison, site, previous, pending, len(result)))
        pending, previous = [], site.shown or site.name
        if site.role != "output":
            pending = _numbered(comparison, site, "output_cotangent", "output cotangent", "backward")
        if site.role == "layer":
            result.append(_layer(comparison, site, shown, len(result)))
    return result + _rest(comparison, shown, len(result))


def _cotangents_of_inputs(comparison: Comparison) -> list[Quantity]:
    root = comparison.alignment.sites[-1]
    return _numbered(comparison, root, "input_cotangent", "input cotangent", "backward")


def _numbered(comparison: Comparison, site: Site, what: str, name: str, phase: Phase) -> list[Quantity]:
    count = site.torch.inputs if what.startswith("input") else site.torch.outputs
    quantities: list[Quantity] = []
    for index in range(count):
        label = name if count == 1 else f"{name} {index}"
        quantities += comparison.quantity((site.torch.key, what, index), label, phase)
    return quantities


def _entry(
    comparison: Comparison, role: str, name: str, site: Site, position: int, quantities: list[Quantity]
) -> Entry:
    return Entry(
        position=position,
        role=role,
        mode=comparison.mode,
        name=name,
        torch=site.torch.path,
        flax=site.flax.path,
        kind=site.torch.class_name,
        call=site.torch.nth,
        source_torch=site.torch.source,
        source_flax=site.flax.source,
        quantities=tuple(quantities),
    )


def _segment(
    comparison: Comparison, site: Site, previous: str, pending: list[Quantity], position: int
) -> Entry:
    what = "input" if site.role == "layer" else "output"
    quantities = _numbered(comparison, site, what, what, "forward") + pending
    return _entry(comparison, "segment", f"{previous} -> {site.name}", site, position, quantities)


def _layer(comparison: Comparison, site: Site, shown: set[int], position: int) -> Entry:
    quantities = _numbered(comparison, site, "output", "output", "forward")
    quantities += _numbered(comparison, site, "input_cotangent", "input cotangent", "backward")
    prefix = f"{site.torch.path}."
    for index, link in enumerate(comparison.plan.links):
        # The gradient and the state after the run belong to all calls of a module; its first call shows them.
        if link.torch.startswith(prefix) and index not in shown:
            shown.add(index)
            quantities += _of_link(comparison, index, link.torch[len(prefix) :])
    return _entry(comparison, "layer", site.name, site, position, quantities)


def _of_link(comparison: Comparison, index: int, name: str) -> list[Quantity]:
    return comparison.quantity(
        ("", "gradient", index), f"gradient of {name}", "backward"
    ) + comparison.quantity(("", "state_after", index), name, "state")


def _rest(comparison: Comparison, shown: set[int], position: int) -> list[Entry]:
    """Parameters that belong to no compared layer: a scale vector of a container, a module never called."""
    by_owner: dict[str, list[Quantity]] = {}
    flax_owner: dict[str, str] = {}
    for index, link in enumerate(comparison.plan.links):
        if index not in shown:
            owner, _, leaf = link.torch.rpartition(".")
            by_owner.setdefault(owner, []).extend(_of_link(comparison, index, leaf))
            flax_owner[owner] = link.flax.rpartition(".")[0]
    calls = {call.path: call for call in reversed(comparison.torch.calls)}
    result = []
    for offset, (owner, quantities) in enumerate(by_owner.items()):
        call = calls.get(owner)
        result.append(
            Entry(
                position=position + offset,
                role="parameters",
                mode=comparison.mode,
                name=owner or "model",
                torch=owner,
                flax=flax_owner[owner],
                kind=call.class_name if call else "",
                call=0,
                source_torch=call.source if call else "",
                source_flax="",
                quantities=tuple(quantities),
            )
        )
    return [entry for entry in result if entry.quantities]
