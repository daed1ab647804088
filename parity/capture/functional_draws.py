"""Dropouts that a PyTorch model calls as functions, as calls that can be recorded and run again.

`F.dropout(x, 0.5, self.training)` stands in the middle of a module, and Flax has a module in its place. It is recorded
as a call, by the path of the module around and a number, and so compared as an `nn.Dropout` is.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode

_DROPOUTS = frozenset(
    {
        F.dropout,
        F.dropout1d,
        F.dropout2d,
        F.dropout3d,
        F.alpha_dropout,
        F.feature_alpha_dropout,
        torch.dropout,
        torch.feature_dropout,
        torch.alpha_dropout,
        torch.feature_alpha_dropout,
    }
)

# Given a path, the function, and its arguments: the result of the call.
OnCall = Callable[[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]], Any]


@dataclasses.dataclass
class _Around:
    """A module under way: whether it has none inside, and how many dropouts it has called."""

    path: str
    is_leaf: bool
    dropouts: int = 0


class FunctionalDraws(TorchFunctionMode):
    """Hands each dropout that a model calls as a function to `on_call`, while this runs.

    A module without others inside, such as `nn.Dropout` itself, is recorded as a whole, and its own calls stay.
    """

    def __init__(self, model: torch.nn.Module, on_call: OnCall) -> None:
        super().__init__()
        self.model, self.on_call = model, on_call
        self.around: list[_Around] = []
        self.handles: list[Any] = []

    def __enter__(self) -> Any:
        """Begin: follow which module is under way."""
        for path, module in self.model.named_modules():
            is_leaf = bool(path) and not any(True for _ in module.children())
            self.handles += [
                module.register_forward_pre_hook(self._begin(path, is_leaf)),
                module.register_forward_hook(self._end, always_call=True),
            ]
        return super().__enter__()

    def __exit__(self, *raised: Any) -> None:
        """End, and leave no hook behind."""
        super().__exit__(*raised)
        for handle in self.handles:
            handle.remove()

    def _begin(self, path: str, is_leaf: bool) -> Callable[..., None]:
        def before(*_: Any) -> None:
            self.around.append(_Around(path, is_leaf))

        return before

    def _end(self, *_: Any) -> None:
        self.around.pop()

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Every function of PyTorch that is called comes here."""
        if func not in _DROPOUTS or not self.around or self.around[-1].is_leaf:
            return func(*args, **(kwargs or {}))
        around = self.around[-1]
        around.dropouts += 1
        name = f"{func.__name__}({around.dropouts})"
        path = f"{around.path}.{name}" if around.path else name
        return self.on_call(path, func, args, kwargs or {})


# What such a call is recorded as: a module that has no other meaning.
AS_MODULE = torch.nn.Dropout()
