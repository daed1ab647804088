"""A PyTorch model without its casts to float32: what a float64 run means where the model casts in between.

For PyTorch what `parity.capture.widen` is for a Flax program: `x.float()`, `x.to(torch.float32)`, `dtype=torch.float32`
and new tensors of the default dtype are float64 while it runs.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from parity.capture.source import called_from

_CASTS = frozenset({torch.Tensor.to, torch.Tensor.type, torch.Tensor.type_as})
_FACTORIES = frozenset(
    (
        torch.arange,
        torch.as_tensor,
        torch.empty,
        torch.eye,
        torch.full,
        torch.linspace,
        torch.logspace,
        torch.ones,
        torch.scalar_tensor,
        torch.tensor,
        torch.zeros,
    )
)
# Drawn once only: a second draw would be of other numbers.
_RANDOM = frozenset({torch.rand, torch.randn, torch.normal})


class WithoutCasts(TorchFunctionMode):
    """While this runs, what would be float32 is float64; `lines` tell where the model casts a float64 tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every function of PyTorch that is called comes here."""
        kwargs = kwargs or {}
        if func is torch.Tensor.float:
            return self._cast(args[0], func)
        if func in _CASTS and any(map(_is_narrow, (*args[1:], *kwargs.values()))):
            self._note(args[0])
            args = (args[0], *map(_wide, args[1:]))
            return func(*args, **{name: _wide(value) for name, value in kwargs.items()})
        if _is_narrow(kwargs.get("dtype")):
            self._note(next((value for value in args if isinstance(value, torch.Tensor)), None))
            return func(*args, **{**kwargs, "dtype": torch.float64})
        result = func(*args, **kwargs)
        return _made(result, func, args, kwargs)

    def _cast(self, tensor: torch.Tensor, func: Callable[..., Any]) -> torch.Tensor:
        if tensor.is_complex():
            return func(tensor)
        self._note(tensor)
        return tensor.double()

    def _note(self, tensor: torch.Tensor | None) -> None:
        if tensor is not None and tensor.dtype == torch.float64:
            self.lines.append(called_from())


@contextlib.contextmanager
def without_casts(dtype: str) -> Iterator[list[str]]:
    """The lines of the casts that were left out; in a run of another dtype than float64 all stay."""
    if dtype != "float64":
        yield []
        return
    with WithoutCasts() as mode:
        yield mode.lines


def _made(result: Any, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A new tensor of the default dtype in float64; what was made of other tensors as it is."""
    if not isinstance(result, torch.Tensor) or result.dtype != torch.float32 or "dtype" in kwargs:
        return result
    if any(isinstance(value, torch.Tensor) for value in (*args, *kwargs.values())):
        return result
    if func in _RANDOM:
        return result.double()
    return func(*args, **kwargs, dtype=torch.float64) if func in _FACTORIES else result


def _is_narrow(value: Any) -> bool:
    if isinstance(value, torch.Tensor):
        return value.dtype == torch.float32
    if isinstance(value, str):
        return value == "torch.FloatTensor"
    return value is torch.float32 or value is torch.FloatTensor


def _wide(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype == torch.float32 else value
    return torch.float64 if _is_narrow(value) else value
