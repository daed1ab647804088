"""The PyTorch side of a comparison: captured here and now, or read from a folder another process wrote."""

import copy
import dataclasses
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from parity.capture.derivative import derivative_error
from parity.capture.initial import torch_arrays
from parity.capture.kinds import DROPOUT
from parity.capture.memory import available_memory
from parity.capture.objective import objective_named
from parity.capture.owner import Owner, torch_owners
from parity.capture.parametrised import without_parametrisation
from parity.capture.perturb import perturb
from parity.capture.torch import capture_torch
from parity.capture.trace import TRACE_VERSION, Call, Trace, load_arrays, save_arrays
from parity.errors import CannotCompare, TraceError
from parity.files import from_plain, read_json, to_plain, write_json
from parity.verdict.record import Note

_HEAD_FILE = "reference.json"
DTYPES = ("float32", "float64")


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the rest of the engine needs of the PyTorch model.

    `model()` gives a fresh copy of the model, with the weights that are compared; it is None where the model is not at
    hand. `owners` are in execution order; `traces(mode)` gives the float32 and the float64 run;
    `derivative_error(call, mode)` compares one module's own derivative with a central difference, or gives
    None where the model is not at hand. `initial`: the weights that the model came with, before
    any was perturbed. `parts` names the tensors of the model's output in their order, `order` the
    modules of all calls. `on_disk`: the runs' arrays are
    kept in temporary files, for lack of memory.
    """

    inputs: list[np.ndarray]
    weights: dict[str, np.ndarray]
    owners: list[Owner]
    frozen: tuple[str, ...]
    notes: tuple[Note, ...]
    traces: Callable[[str], tuple[Trace, Trace]]
    derivative_error: Callable[[Call, Trace], float | None]
    on_disk: bool = False
    model: Callable[[], torch.nn.Module] | None = None
    output: str | None = None
    parts: tuple[str, ...] = ()
    order: tuple[str, ...] = ()
    initial: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def save(self, directory: Path, modes: tuple[str, ...]) -> None:
        """Write the capture of these modes into `directory`, for a comparison in another process."""
        for mode in modes:
            for dtype, trace in zip(DTYPES, self.traces(mode), strict=True):
                trace.save(directory / f"{mode}-{dtype}")
        save_arrays(directory / "inputs.npz", {f"input{i:03d}": x for i, x in enumerate(self.inputs)})
        names = sorted(self.weights)
        save_arrays(directory / "weights.npz", {f"w{i}": self.weights[name] for i, name in enumerate(names)})
        # Of the values before perturbation only those that it changed.
        changed = sorted(n for n in self.initial if not np.array_equal(self.initial[n], self.weights[n]))
        save_arrays(directory / "initial.npz", {f"w{i}": self.initial[n] for i, n in enumerate(changed)})
        head = {
            "version": TRACE_VERSION,
            "modes": modes,
            "weights": names,
            "initial": changed,
            "owners": to_plain(self.owners),
            "frozen": self.frozen,
            "parts": self.parts,
            "order": self.order,
            "notes": to_plain(self.notes),
        }
        # Last, so that a folder with a head is a complete one.
        write_json(directory / _HEAD_FILE, head)


def load_reference(directory: Path) -> Reference:
    """Read what `Reference.save` wrote.

    Raises:
        TraceError: the folder is missing, damaged, or of another format version.
    """
    head = read_json(directory / _HEAD_FILE)
    version = head.get("version") if isinstance(head, dict) else None
    if version != TRACE_VERSION:
        raise TraceError(
            f"{directory} holds a capture of format version {version}, this parity reads version "
            f"{TRACE_VERSION}: capture it again."
        )

    def traces(mode: str) -> tuple[Trace, Trace]:
        if mode not in head["modes"]:
            raise CannotCompare(
                f"{directory} was captured in {head['modes']} mode only; {mode} mode is missing."
            )
        return Trace.load(directory / f"{mode}-float32"), Trace.load(directory / f"{mode}-float64")

    try:
        stored = load_arrays(directory / "weights.npz")
        inputs = load_arrays(directory / "inputs.npz")
        weights = {name: stored[f"w{i}"] for i, name in enumerate(head["weights"])}
        # A capture of before these were kept has none.
        kept = load_arrays(directory / "initial.npz") if "initial" in head else {}
        changed = {name: kept[f"w{i}"] for i, name in enumerate(head.get("initial", ()))}
        return Reference(
            inputs=[inputs[name] for name in sorted(inputs)],
            weights=weights,
            owners=from_plain(list[Owner], head["owners"]),
            frozen=tuple(head["frozen"]),
            notes=from_plain(tuple[Note, ...], head["notes"]),
            traces=traces,
            derivative_error=lambda call, trace: None,
            parts=tuple(head.get("parts", ())),
            order=tuple(head.get("order", ())),
            initial={**weights, **changed} if "initial" in head else {},
        )
    except (KeyError, TypeError) as error:
        raise TraceError(f"The capture in {directory} is damaged ({error}): capture it again.") from None


def reference_of(
    model: torch.nn.Module,
    inputs: list[np.ndarray],
    *,
    seed: int,
    objective: str,
    perturbed: bool,
    output: str | None = None,
) -> Reference:
    """Prepare a copy of the user's model and find out in which order it calls its modules.

    Raises:
        CannotCompare: the model raises on these inputs, needs more memory than there is, or does not do the
            same twice.
    """
    model = copy.deepcopy(model).cpu().float()
    notes = without_parametrisation(model)
    initial = torch_arrays(model)
    notes += perturb(model, seed) if perturbed else []
    # Views, not copies: every run is of a copy of `model`, which changes with them (see `parity.matching.ties`).
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    loss = objective_named(objective, seed)

    def look(mode: str, seed: int) -> Trace:
        return capture_torch(
            copy.deepcopy(model), inputs, mode=mode, dtype="float32", seed=seed, objective=None, output=output
        )

    first = look("eval", seed)
    on_disk = check_memory(first, weights)
    notes += repeatability(first, look("eval", seed + 1), "PyTorch")

    def traces(mode: str) -> tuple[Trace, Trace]:
        runs = []
        for dtype in DTYPES:
            trace = capture_torch(
                copy.deepcopy(model),
                inputs,
                mode=mode,
                dtype=dtype,
                seed=seed,
                objective=loss,
                on_disk=on_disk,
                output=output,
            )
            runs.append(trace)
        return runs[0], runs[1]

    def error(call: Call, trace: Trace) -> float | None:
        fresh = copy.deepcopy(model).double().train(trace.mode == "train")
        module = dict(fresh.named_modules()).get(call.path)
        # A function that was recorded as a call is no module.
        return None if module is None else derivative_error(module, call, trace)

    return Reference(
        inputs=inputs,
        weights=weights,
        owners=torch_owners(model, [call.path for call in first.calls]),
        frozen=tuple(n for n, p in model.named_parameters(remove_duplicate=False) if not p.requires_grad),
        notes=tuple(notes),
        traces=traces,
        derivative_error=error,
        on_disk=on_disk,
        model=lambda: copy.deepcopy(model),
        output=output,
        parts=first.calls[-1].parts,
        order=tuple(call.path for call in first.calls),
        initial=initial,
    )


def first_not_finite(trace: Trace) -> Call | None:
    """The first call whose input or output holds NaN or infinity."""
    for call in trace.calls:
        for what, count in (("input", call.inputs), ("output", call.outputs)):
            arrays = (trace.get(call, what, index) for index in range(count))
            if any(array is not None and not np.all(np.isfinite(array)) for array in arrays):
                return call
    return None


def not_finite(trace: Trace, side: str) -> str:
    """A sentence on a run that produced NaN or infinity, naming the first layer that did; "" if it did not."""
    call = first_not_finite(trace)
    if call is not None:
        return (
            f"The {side} model produces NaN or infinity in {trace.mode} mode ({trace.dtype}), first in the layer "
            f"{call.path or 'output'!r}; give inputs or weights on which it is finite."
        )
    for name in reversed(list(trace.arrays)):
        if not np.all(np.isfinite(trace.arrays[name])):
            return (
                f"The {side} model has a gradient of NaN or infinity in {trace.mode} mode ({trace.dtype}): {name}; "
                "give inputs or weights on which it is finite."
            )
    return ""


def repeatability(first: Trace, second: Trace, side: str) -> list[Note]:
    """Compare two identical runs (but for the seed of random numbers).

    Raises:
        CannotCompare: they call different modules.
    """
    for a, b in zip(first.calls, second.calls, strict=False):
        if a.path != b.path:
            raise CannotCompare(
                f"The {side} model does not run the same layers twice: {a.path!r} in one run is {b.path!r} in an "
                "identical one; make its control flow deterministic."
            )
    if len(first.calls) != len(second.calls):
        raise CannotCompare(
            f"The {side} model called {len(first.calls)} layers in one run and {len(second.calls)} in an identical "
            "one; make its control flow deterministic."
        )
    for call in first.calls:
        for index in range(call.outputs):
            a, b = first.get(call, "output", index), second.get(call, "output", index)
            if a is not None and b is not None and _differ(a, b):
                known = (call.draws or call.kind == DROPOUT) and first.mode == "train"
                message = f"the {side} layer gives different outputs in two identical {first.mode} runs"
                return [] if known else [Note("non-deterministic", call.path, message)]
    return []


def _differ(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two runs differ by more than the order of their sums, which threads may change, explains."""
    if np.array_equal(a, b, equal_nan=True):
        return False
    scale = max(float(np.max(np.abs(a))), float(np.max(np.abs(b))))
    return not float(np.max(np.abs(a - b))) <= 1e3 * float(np.finfo(np.float32).eps) * scale


# Above this a comparison keeps its arrays in temporary files, in bytes: most models are far below it.
_IN_MEMORY = 3 * 2**29


def check_memory(outputs: Trace, weights: dict[str, np.ndarray]) -> bool:
    """Whether the runs' arrays must be kept on disk; refuse a comparison that would not fit even so.

    In one mode both sides have inputs, outputs and their cotangents, in float32 and in float64, and Flax its
    forced copies: at most 30 times the float32 outputs, and 15 times the weights. On disk, what one run needs
    at once remains in memory: 12 times the outputs and 7 times the weights.

    Raises:
        CannotCompare: with the estimate.
    """
    activations = sum(a.nbytes for key, a in outputs.arrays.items() if "/output/" in key)
    size = sum(w.nbytes for w in weights.values())
    needed, at_once = 30 * activations + 15 * size, 12 * activations + 7 * size
    if needed <= _IN_MEMORY:
        return False
    for what, wanted, free in (
        ("memory", at_once, available_memory()),
        ("room for temporary files", needed, shutil.disk_usage(tempfile.gettempdir()).free),
    ):
        if free is not None and wanted > free:
            raise CannotCompare(
                f"The comparison needs about {wanted / 2**30:.1f} GiB of {what} and {free / 2**30:.1f} GiB are "
                "free; use a smaller batch or smaller images."
            )
    return True
