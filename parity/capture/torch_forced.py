"""Run a PyTorch model cut at its sites: every matched call is fed given tensors and hands on given tensors.

It is for PyTorch what a forced run is for Flax (see `parity.capture.intercept`). The recorded input of a call is the
tensor that arrived there; its recorded output is what it computed from the tensor that it was fed. Backward, each piece
is differentiated by itself, with given cotangents.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch

from parity.capture.shelf import Shelf
from parity.capture.torch import Recorder, failure, numpy_of, prepare, tensors_from
from parity.capture.torch_widen import without_casts
from parity.capture.trace import Trace
from parity.capture.trees import list_tensors, map_tensors
from parity.errors import CannotCompare


class _Ended(torch.autograd.Function):
    """Zero, with a given cotangent as its derivative.

    The sum of such zeros is differentiated in place of `torch.autograd.backward(tensors, cotangents)`, which loads
    sympy: three seconds of every check.
    """

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor, cotangent: torch.Tensor) -> torch.Tensor:
        ctx.cotangent = cotangent
        return tensor.new_zeros(())

    @staticmethod
    def backward(ctx: Any, *_: torch.Tensor) -> tuple[torch.Tensor, None]:
        return ctx.cotangent, None


class _Cutter(Recorder):
    """Records, and replaces what passes the sites.

    `given` holds the tensors to feed and to hand on, and the cotangents, under the names of a trace; `layers` are the
    keys of the calls whose inputs are replaced too.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        given: Trace,
        sites: Collection[str],
        layers: Collection[str],
        shelf: Any,
        output: str | None,
    ) -> None:
        super().__init__(model, False, shelf, output)
        self.given, self.sites, self.layers = given, sites, layers
        self.ends: list[torch.Tensor] = []
        self.cotangents: list[torch.Tensor] = []

    def enter(self, path: str, args: Any, kwargs: Any) -> Any:
        arrived = super().enter(path, args, kwargs)
        frame = self.stack[-1]
        key = f"{path}#{frame.nth}"
        if key not in self.layers:
            return arrived
        fed = [self._replaced(key, "input", index, clone) for index, clone in enumerate(frame.clones)]
        frame.clones, frame.versions = fed, [tensor._version for tensor in fed]
        following = iter(fed)
        return map_tensors(arrived, lambda value: isinstance(value, torch.Tensor), lambda *_: next(following))

    def leave(self, module: torch.nn.Module, output: Any) -> Any:
        frame = self.stack[-1]
        key = f"{frame.path}#{frame.nth}"
        changed = [
            original
            for original, clone, version in zip(frame.originals, frame.clones, frame.versions, strict=True)
            if clone is not original and clone._version != version
        ]
        computed = super().leave(module, output)
        if key not in self.sites:
            return computed
        outputs = [tensor for _, tensor in list_tensors(computed, lambda v: isinstance(v, torch.Tensor))]
        handed = [self._replaced(key, "output", index, tensor) for index, tensor in enumerate(outputs)]
        for original in changed:
            # A module that works in place: what the caller still holds is what the module hands on.
            if len(handed) == 1 and handed[0].shape == original.shape:
                original.copy_(handed[0])
        self.previous_output = handed
        following = iter(handed)
        return map_tensors(computed, lambda v: isinstance(v, torch.Tensor), lambda *_: next(following))

    def _replaced(self, key: str, what: str, index: int, tensor: torch.Tensor) -> torch.Tensor:
        """The given tensor in place of one that arrived or was computed, whose piece ends here."""
        if not tensor.is_floating_point():
            return tensor
        cotangent = self.given.get(key, f"{what}_cotangent", index)
        if cotangent is not None and tensor.requires_grad:
            self.ends.append(tensor)
            self.cotangents.append(torch.from_numpy(np.array(cotangent)).to(tensor.dtype))
        value = self.given.get(key, what, index)
        if value is None:
            return tensor
        leaf = torch.from_numpy(np.array(value)).to(tensor.dtype).requires_grad_()
        self.keep_cotangent(f"{key}/{what}_cotangent/{index}", leaf)
        # Times one: a module that works in place refuses a leaf.
        return leaf * 1


def capture_torch_forced(
    model: torch.nn.Module,
    given: Trace,
    sites: Collection[str],
    layers: Collection[str],
    inputs: list[np.ndarray],
    *,
    mode: str,
    dtype: str,
    seed: int,
    on_disk: bool = False,
    output: str | None = None,
) -> Trace:
    """Record one run of a model that the engine owns, cut at its sites.

    Args:
        model: the model; it is put into `mode` and `dtype`.
        given: what is fed and handed on, with cotangents, in PyTorch's layout, under the names of a trace.
        sites: keys ("path#n") of the calls whose outputs are replaced.
        layers: of those, the calls whose inputs are replaced too.
        inputs: of the model.
        mode: "train" or "eval".
        dtype: "float32" or "float64".
        seed: of the model's own randomness.
        on_disk: keep the arrays in a temporary file.
        output: the part of the model's output that is compared; all of it if None.

    Raises:
        CannotCompare: the model raises.
    """
    prepare(model, mode, dtype)
    model.zero_grad(set_to_none=True)
    cutter = _Cutter(model, given, sites, layers, Shelf() if on_disk else None, output)
    tensors = [t.requires_grad_() * 1 if t.is_floating_point() else t for t in tensors_from(inputs, dtype)]
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            with cutter.hooked(), without_casts(dtype), torch.enable_grad():
                model(*tensors)
                ends = [_Ended.apply(*end) for end in zip(cutter.ends, cutter.cotangents, strict=True)]
            with cutter.keeping_gradients():
                if ends:
                    torch.stack([end.double() for end in ends]).sum().backward()
    except (RuntimeError, TypeError, ValueError, IndexError, AssertionError) as error:
        raise CannotCompare(failure(cutter, dtype, error)) from error
    arrays = cutter.arrays
    arrays.update({f"state_after/{name}": numpy_of(buffer) for name, buffer in model.named_buffers()})
    calls, dtypes = tuple(cutter.calls), cutter.dtypes
    cutter.ends, cutter.cotangents, cutter.previous_output = [], [], []
    return Trace("torch", mode, dtype, calls, arrays, dtypes)
