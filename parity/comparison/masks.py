"""What PyTorch's dropouts multiplied by, in the layout of Flax, to be put in the place of what Flax draws."""

import numpy as np

from parity.capture.trace import Call, Trace
from parity.matching.axes import to_flax
from parity.matching.calls import Alignment


def dropout_masks(alignment: Alignment, torch: Trace, observed: Trace) -> dict[str, np.ndarray]:
    """The factor by which PyTorch's dropout multiplied each element, in Flax's layout, by the key of Flax's call."""
    masks = {}
    for site in alignment.sites:
        if site.role != "layer" or not any(call.draws for call in torch.inside(site.torch)):
            continue
        shape, factor = observed.get(site.flax, "output"), factor_of(torch, site.torch)
        if shape is not None and factor is not None:
            masks[site.flax.key] = to_flax(factor, shape.shape, site.torch.last_axis)
    return masks


def bits_of_masks(alignment: Alignment, torch: Trace) -> dict[str, np.ndarray]:
    """Where the random bits of the masks that Flax draws between its calls must be one, by the name of the key.

    A mask that cannot do both, keep and drop, stays as it is.
    """
    bits = {}
    for pair in alignment.masks:
        factor = factor_of(torch, pair.torch)
        if factor is not None and pair.told.varies:
            kept = to_flax(factor, pair.mask.shape, pair.torch.last_axis) != 0
            bits[pair.told.key] = pair.told.bits_for(kept)
    return bits


def factor_of(torch: Trace, call: Call) -> np.ndarray | None:
    """The factor by which a call of PyTorch's multiplied each element; None if it does something else.

    From output / input, or where the input is zero from the ratio of the cotangents.
    """
    x, y = torch.get(call, "input"), torch.get(call, "output")
    dx, dy = torch.get(call, "input_cotangent"), torch.get(call, "output_cotangent")
    if x is None or y is None or x.shape != y.shape or not _multiplies(x, y, dx, dy):
        return None
    factor = np.divide(y, x, out=np.zeros_like(x), where=x != 0)
    if dx is not None and dy is not None:
        backward = np.divide(dx, dy, out=np.zeros_like(x), where=dy != 0)
        factor = np.where(x != 0, factor, backward)
    return factor


def _multiplies(x: np.ndarray, y: np.ndarray, dx: np.ndarray | None, dy: np.ndarray | None) -> bool:
    """Whether y is x times a factor, element by element: then the derivative, if there is one, is that factor."""
    return dx is None or dy is None or bool(np.allclose(y * dy, x * dx, rtol=1e-5, atol=1e-9))
