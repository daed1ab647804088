"""The random factors of a training: drawn by PyTorch's own layers, once for all runs, and handed to both sides.

A layer that draws is run on ones, in float64 and under a seed of its step and call. What it makes of them is the factor
by which all runs multiply there, whatever the layer's class: elements, channels, images or whole batches are dropped.
"""

import contextlib
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np
import torch

from parity.capture.functional_draws import FunctionalDraws
from parity.capture.trace import Trace
from parity.errors import CannotCompare

Layer = Callable[[torch.Tensor], torch.Tensor]
# Given the key of a call, what is called and its input: the factor, in PyTorch's layout.
Masks = Callable[[str, Layer, torch.Tensor], np.ndarray]


def drawing_paths(trace: Trace) -> frozenset[str]:
    """The paths of the calls of a run that draw.

    Raises:
        CannotCompare: a module with others inside draws itself, so that its factor cannot be told.
    """
    drawing = [call for call in trace.calls if call.draws]
    whole = next((call for call in drawing if call.inner), None)
    if whole is not None:
        raise CannotCompare(
            f"The PyTorch module {whole.path or 'itself'!r} draws random numbers between its layers, so the two sides "
            "cannot be given the same: draw them in a module of their own, or train without them."
        )
    return frozenset(call.path for call in drawing)


def factor_of(layer: Layer, x: torch.Tensor, key: str, seed: int, step: int) -> np.ndarray:
    """The factor by which a layer multiplies x [any shape] at one call of one step.

    Args:
        layer: what is called.
        x: its input.
        key: of the call, "path#n".
        seed, step: of the run; every call and step draws anew.

    Raises:
        CannotCompare: the layer does something else than multiplying by random factors.
    """
    ones = torch.ones(x.shape, dtype=torch.float64)
    number = zlib.crc32(f"{seed}/{step}/{key}".encode())
    results = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for size in (1.0, -3.0):
            torch.manual_seed(number)
            results.append(layer(size * ones))
    once, thrice = results
    if once.shape != x.shape or not torch.allclose(-3 * once, thrice, rtol=1e-9, atol=1e-12):
        raise CannotCompare(
            f"The PyTorch layer {key.partition('#')[0]!r} draws random numbers that are no factors of its input, so "
            "the two sides cannot be given the same: train without it."
        )
    return once.numpy()


@contextlib.contextmanager
def masked(model: torch.nn.Module, drawing: Collection[str], masks: Masks) -> Iterator[None]:
    """Inside this context each call that draws multiplies by the given factor, not by one of its own.

    Args:
        model: the model.
        drawing: the paths of its calls that draw.
        masks: gives the factors.
    """
    counts: dict[str, int] = {}

    def multiplied(path: str, layer: Layer, x: torch.Tensor) -> torch.Tensor:
        key = f"{path}#{counts.get(path, 0)}"
        counts[path] = counts.get(path, 0) + 1
        return x * torch.from_numpy(masks(key, layer, x)).to(x.dtype)

    def hook(path: str) -> Callable[..., torch.Tensor]:
        return lambda module, args, _: multiplied(path, module.forward, args[0])

    def on_function(path: str, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if path not in drawing:
            return function(*args, **kwargs)
        x, rest = (args[0], args[1:]) if args else (kwargs["input"], ())
        others = {name: value for name, value in kwargs.items() if name not in ("input", "inplace")}
        return multiplied(path, lambda given: function(given, *rest, **others), x)

    handles = [m.register_forward_hook(hook(path)) for path, m in model.named_modules() if path in drawing]
    try:
        with FunctionalDraws(model, on_function):
            yield
    finally:
        for handle in handles:
            handle.remove()


def partners(trace: Trace, observed: Trace, sites: Collection[Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Flax's call and the shape of its output, by the key of PyTorch's call that draws.

    Args:
        trace, observed: a run of each side.
        sites: the calls that are paired.
    """
    drawing: set[str] = {call.key for call in trace.calls if call.draws}
    found = {}
    for site in sites:
        output = observed.get(site.flax, "output")
        if site.torch.key in drawing and output is not None:
            found[site.torch.key] = (site.flax.key, output.shape)
    return found
