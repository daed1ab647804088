"""Run a PyTorch model once, forward and backward, and record every call of every module.

Inputs are handed to each module as clones, so that the gradient of a clone is the cotangent of *this*
module's input (not the sum over all consumers of the tensor). A module that works in place writes into the
clone; the change is copied back, so the model computes what it always computes. Outputs are handed on as
clones too: a container's output may also be used inside it, and its cotangent must count the uses outside only.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from parity.capture.functional_draws import AS_MODULE, FunctionalDraws
from parity.capture.kinds import acts_on_last_axis, torch_kind
from parity.capture.shelf import Arrays, Shelf
from parity.capture.source import called_from, source_of
from parity.capture.torch_widen import without_casts
from parity.capture.trace import Call, Trace
from parity.capture.trees import list_tensors, map_tensors, selected
from parity.errors import CannotCompare
from parity.verdict.policy import COARSE

DTYPES = {"float32": torch.float32, "float64": torch.float64}
Objective = Callable[[list[torch.Tensor]], torch.Tensor]
_COARSE = {getattr(torch, name): name for name in COARSE}


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def numpy_of(tensor: torch.Tensor) -> np.ndarray:
    """A copy of the values; bfloat16 and float16 in float32."""
    detached = tensor.detach()
    if detached.dtype in _COARSE:
        detached = detached.float()
    return detached.cpu().numpy().copy()


def _zeros(tensor: torch.Tensor) -> np.ndarray:
    """Zeros of a tensor's shape that occupy no memory."""
    return np.broadcast_to(numpy_of(tensor.detach().new_zeros(())), tuple(tensor.shape))


@dataclasses.dataclass
class _Frame:
    """A call under way: the tensors as the caller gave them, the clones, the calls finished before, the line."""

    path: str
    nth: int
    originals: list[torch.Tensor]
    clones: list[torch.Tensor]
    versions: list[int]
    finished_before: int
    called: str
    draws: bool = False


class Recorder:
    """Collects calls and arrays through hooks on every module of one model.

    `enter` and `leave` give the tensors that go on in place of those that a module is called with and returns.
    """

    def __init__(
        self, model: torch.nn.Module, only_outputs: bool, shelf: Shelf | None, output: str | None = None
    ) -> None:
        self.model, self.output = model, output
        self.only_outputs = only_outputs
        self.calls: list[Call] = []
        self.arrays = Arrays(shelf=shelf)
        self.stack: list[_Frame] = []
        self.counts: dict[str, int] = {}
        self.previous_output: list[torch.Tensor] = []
        self.complete: set[str] = set()
        self.recent = np.zeros(0)
        self.dtypes: dict[str, str] = {}
        self.owners_of_cotangents: dict[str, int] = {}
        self.generator = torch.get_rng_state()

    @contextlib.contextmanager
    def hooked(self) -> Iterator[None]:
        """Hooks are in place inside the `with` block and gone after it."""
        handles = []
        for path, module in self.model.named_modules():
            before, after = self._hooks(path)
            handles.append(module.register_forward_pre_hook(before, with_kwargs=True))
            handles.append(module.register_forward_hook(after, with_kwargs=True))
        try:
            with FunctionalDraws(self.model, self._function):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _function(self, path: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """A dropout that is called as a function."""
        args, kwargs = self.enter(path, args, kwargs)
        return self.leave(AS_MODULE, function(*args, **kwargs))

    def _hooks(self, path: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
        def before(module: torch.nn.Module, args: Any, kwargs: Any) -> Any:
            return self.enter(path, args, kwargs)

        def after(module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
            return self.leave(module, output)

        return before, after

    @contextlib.contextmanager
    def keeping_gradients(self) -> Iterator[None]:
        """Parameters' gradients are recorded inside the `with` block, and no hook is left after it."""
        handles = []
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                # One that the objective does not reach has the gradient zero, and no hook says so.
                self.arrays[f"gradient/{name}"] = _zeros(parameter)
                handles.append(parameter.register_post_accumulate_grad_hook(self._keeper(name)))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _keeper(self, name: str) -> Callable[[torch.Tensor], None]:
        """Takes a parameter's gradient as soon as it is complete, so that not all are in memory at once."""
        key = f"gradient/{name}"

        def keep(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None  # says so to the type checker: the hook runs after it was set
            gradient, parameter.grad = numpy_of(parameter.grad), None
            # A part that is checkpointed with `use_reentrant` has a backward pass of its own, which adds to it.
            self.arrays[key] = gradient + self.arrays[key] if key in self.complete else gradient
            self.complete.add(key)

        return keep

    def enter(self, path: str, args: Any, kwargs: Any) -> Any:
        """Record the arguments of a call; give clones of them."""
        self._note_draws()
        nth = self.counts.get(path, 0)
        self.counts[path] = nth + 1
        frame = _Frame(path, nth, [], [], [], len(self.calls), called_from())
        self.stack.append(frame)

        def take(_: str, tensor: torch.Tensor) -> torch.Tensor:
            clone = tensor.clone() if tensor.is_floating_point() else tensor
            self._record(f"{path}#{nth}", "input", len(frame.clones), clone)
            frame.originals.append(tensor)
            frame.clones.append(clone)
            frame.versions.append(clone._version)
            return clone

        return map_tensors((args, kwargs), _is_tensor, take)

    def leave(self, module: torch.nn.Module, output: Any) -> Any:
        """Record the call and its output; give a clone of the output."""
        self._note_draws()
        frame = self.stack.pop()
        if self.output is not None and not frame.path:
            output = selected(output, self.output)
        for original, clone, version in zip(frame.originals, frame.clones, frame.versions, strict=True):
            if clone is not original and clone._version != version:
                original.copy_(clone)
        outputs = [tensor for _, tensor in list_tensors(output, _is_tensor)]
        same = len(outputs) == len(self.previous_output) and all(
            a is b for a, b in zip(outputs, self.previous_output, strict=True)
        )
        self.previous_output = []

        def give(_: str, tensor: torch.Tensor) -> torch.Tensor:
            clone = tensor.clone() if tensor.requires_grad else tensor
            self._record(f"{frame.path}#{frame.nth}", "output", len(self.previous_output), clone)
            self.previous_output.append(clone)
            return clone

        given = map_tensors(output, _is_tensor, give)
        inner = len(self.calls) - frame.finished_before
        self.calls.append(
            Call(
                path=frame.path,
                nth=frame.nth,
                kind=torch_kind(module),
                class_name=type(module).__name__,
                source=source_of(type(module)),
                inputs=len(frame.clones),
                outputs=len(outputs),
                inner=inner,
                same_as_previous=bool(inner and same),
                called=frame.called,
                last_axis=acts_on_last_axis(module),
                draws=frame.draws,
                parts=() if frame.path else tuple(part for part, _ in list_tensors(output, _is_tensor)),
            )
        )
        return given

    def _note_draws(self) -> None:
        """Random numbers that were drawn since the last call began or ended are of the call under way."""
        generator = torch.get_rng_state()
        if self.stack and not torch.equal(generator, self.generator):
            self.stack[-1].draws = True
        self.generator = generator

    def _record(self, key: str, what: str, index: int, tensor: torch.Tensor) -> None:
        if self.only_outputs and what != "output":
            return
        name = f"{key}/{what}/{index}"
        self.arrays[name] = self._shared(tensor)
        if tensor.dtype in _COARSE:
            self.dtypes[name] = _COARSE[tensor.dtype]
        if tensor.requires_grad and not self.only_outputs:
            self.keep_cotangent(f"{key}/{what}_cotangent/{index}", tensor)

    def keep_cotangent(self, name: str, tensor: torch.Tensor) -> None:
        """Record the cotangent of a tensor under a name, which may have had another tensor's."""
        # A tensor that the objective does not reach has the cotangent zero, and no hook call says so.
        self.arrays[name] = _zeros(tensor)
        self.owners_of_cotangents[name] = number = self.owners_of_cotangents.get(name, 0) + 1

        def keep(gradient: torch.Tensor) -> None:
            if self.owners_of_cotangents[name] == number:
                self.arrays[name] = self._shared(gradient)

        tensor.register_hook(keep)

    def _shared(self, tensor: torch.Tensor) -> np.ndarray:
        """The values of a tensor; the array recorded just before where it holds the same, as it mostly does:
        one layer's output is the next one's input. That halves the memory of a trace.
        """
        array = numpy_of(tensor)
        if array.dtype != self.recent.dtype or not np.array_equal(array, self.recent):
            self.recent = array
        return self.recent


def prepare(model: torch.nn.Module, mode: str, dtype: str) -> torch.nn.Module:
    """Put a model that the engine owns into a mode and a dtype."""
    return model.to(DTYPES[dtype]).train(mode == "train")


def tensors_from(inputs: list[np.ndarray], dtype: str) -> list[torch.Tensor]:
    """PyTorch tensors of the inputs: floating ones in `dtype`, whole numbers as they are."""
    return [
        torch.from_numpy(np.array(x)).to(DTYPES[dtype])
        if np.issubdtype(x.dtype, np.floating)
        else torch.from_numpy(np.array(x))
        for x in inputs
    ]


def capture_torch(
    model: torch.nn.Module,
    inputs: list[np.ndarray],
    *,
    mode: str,
    dtype: str,
    seed: int,
    objective: Objective | None,
    with_inputs: bool = False,
    on_disk: bool = False,
    output: str | None = None,
) -> Trace:
    """Record one run of a model that the engine owns (buffers change in train mode).

    Args:
        model: the model; it is put into `mode` and `dtype`.
        inputs: one array an argument, in PyTorch's layout.
        mode: "train" or "eval".
        dtype: "float32" or "float64".
        seed: seeds the model's own randomness.
        objective: the scalar that is differentiated; None records the outputs only, without gradients.
        with_inputs: record the inputs of every call too where there is no objective.
        on_disk: keep the arrays in a temporary file.
        output: the part of the model's output that is compared; all of it if None.

    Raises:
        CannotCompare: the model raises, naming the module in which it did.
    """
    prepare(model, mode, dtype)
    model.zero_grad(set_to_none=True)
    recorder = Recorder(model, objective is None and not with_inputs, Shelf() if on_disk else None, output)
    recorder.arrays.update({f"state_before/{k}": numpy_of(b) for k, b in model.named_buffers()})
    tensors = tensors_from(inputs, dtype)
    if objective is not None:
        # Times one: an in-place module refuses a leaf that requires a gradient.
        tensors = [t.requires_grad_() * 1 if t.is_floating_point() else t for t in tensors]
    try:
        # The caller's own random numbers go on as if nothing had run.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            grad = torch.set_grad_enabled(objective is not None)
            with recorder.hooked(), without_casts(dtype) as casts, grad:
                result = model(*tensors)
            if objective is not None:
                with recorder.keeping_gradients():
                    _backward(objective([t for _, t in list_tensors(result, _is_tensor)]))
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise CannotCompare(failure(recorder, dtype, error)) from error
    # The hooks in the graph know the recorder, so a recorder that knows the graph would keep it alive.
    recorder.previous_output = []
    recorder.arrays.update({f"state_after/{k}": numpy_of(b) for k, b in model.named_buffers()})
    return Trace(
        "torch", mode, dtype, tuple(recorder.calls), recorder.arrays, recorder.dtypes, casts=tuple(casts)
    )


def _backward(value: torch.Tensor) -> None:
    if value.requires_grad:
        value.backward()


def failure(recorder: Recorder, dtype: str, error: Exception) -> str:
    """What the model raised and where, in one sentence."""
    where = recorder.stack[-1].path if recorder.stack else ""
    place = f"in the module {where!r}" if where else "outside its submodules"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if (dtype == "float64" and "dtype" in reason.lower()) or "expected scalar type" in reason.lower():
        return (
            f"The PyTorch model cannot be run in float64: {place} a dtype is pinned ({reason}); "
            "remove the conversion, or make it follow the dtype of its input."
        )
    return f"The PyTorch model raised {type(error).__name__} {place}: {reason}; check the input's shape."
