"""The pattern of an error that no known convention explains: channels, positions, a factor, a permutation."""

import numpy as np

_MOST_LISTED = 6


def pattern(torch: np.ndarray, flax: np.ndarray, bound: float) -> str:
    """One sentence on how Flax's tensor differs from PyTorch's.

    Args:
        torch: PyTorch's values [n, c, ...].
        flax: Flax's values in the same layout; if their shape differs, the sentence says no more.
        bound: the largest |difference| that rounding explains.
    """
    if torch.shape != flax.shape:
        return f"shape {list(torch.shape)} in PyTorch, {list(flax.shape)} in Flax"
    wrong = np.abs(flax - torch) > bound
    if not np.any(wrong):
        return "no difference above rounding"
    for find in (_nothing, _factor, _permutation):
        words = find(torch, flax, bound)
        if words:
            return words
    return ", ".join(
        part for part in (_share(wrong), _rows(wrong), _channels(wrong), _positions(wrong)) if part
    )


def _nothing(torch: np.ndarray, flax: np.ndarray, bound: float) -> str:
    return "Flax's is zero everywhere" if np.max(np.abs(flax)) <= bound else ""


def _factor(torch: np.ndarray, flax: np.ndarray, bound: float) -> str:
    """Flax = factor PyTorch + offset, over the whole tensor or channel by channel."""
    if torch.size == 1 and torch.item() != 0:
        return f"Flax = {_line(flax.item() / torch.item(), 0.0)}"
    fitted = _fit(torch.ravel(), flax.ravel(), bound)
    if fitted is not None:
        return f"Flax = {_line(*fitted)}"
    lines = channel_lines(torch, flax, bound)
    if lines is None:
        return ""
    factors, offsets = ([line[i] for line in lines] for i in (0, 1))
    parts = []
    if max(abs(f - 1) for f in factors) > 1e-9:
        parts.append(f"a factor of {min(factors):.6g} to {max(factors):.6g}")
    if max(map(abs, offsets)) > bound:
        parts.append(f"an offset of {min(offsets):.6g} to {max(offsets):.6g}")
    return f"each channel has its own constants: {' and '.join(parts)}" if parts else ""


def channel_lines(x: np.ndarray, y: np.ndarray, bound: float) -> list[tuple[float, float]] | None:
    """(factor, offset) of each channel of y [n, c, ...] if, to rounding, every channel is a line of x.

    The numbers have twelve digits; further digits are rounding errors.
    """
    if x.ndim < 2:
        return None
    lines = [_fit(x[:, c].ravel(), y[:, c].ravel(), bound) for c in range(x.shape[1])]
    if any(line is None for line in lines):
        return None
    return [(float(f"{line[0]:.12g}"), float(f"{line[1]:.12g}")) for line in lines if line is not None]


def _fit(x: np.ndarray, y: np.ndarray, bound: float) -> tuple[float, float] | None:
    """The line y = factor x + offset through all points to rounding, if there are more than two."""
    if x.size < 3 or np.ptp(x) == 0:
        return None
    centred = x - x.mean()
    factor = float(np.dot(centred, y - y.mean()) / np.dot(centred, centred))
    offset = float(y.mean() - factor * x.mean())
    if abs(offset) <= 4 * bound * max(1.0, abs(factor)):
        offset = 0.0
        factor = float(np.dot(x, y) / np.dot(x, x))
    # The fit adds rounding of its own, and multiplies PyTorch's rounding by the factor.
    allowed = 4 * bound * max(1.0, abs(factor))
    return (factor, offset) if np.max(np.abs(factor * x + offset - y)) <= allowed else None


def _line(factor: float, offset: float) -> str:
    words = "PyTorch" if abs(factor - 1) < 1e-9 else f"{factor:.10g} x PyTorch"
    return words if offset == 0.0 else f"{words} {'+' if offset > 0 else '-'} {abs(offset):.6g}"


def _permutation(torch: np.ndarray, flax: np.ndarray, bound: float) -> str:
    """The permutation of the channels; without one, whether all numbers occur in another order."""
    if torch.ndim > 1 and torch.shape[1] > 1:
        torch_channels = np.moveaxis(torch, 1, 0).reshape(torch.shape[1], -1)
        flax_channels = np.moveaxis(flax, 1, 0).reshape(flax.shape[1], -1)
        order = [_match(channel, torch_channels, bound) for channel in flax_channels]
        if None not in order and len(set(order)) == len(order):
            known = [o for o in order if o is not None]
            return f"the channels are permuted: Flax's channels are PyTorch's {_listed(known)}"
    if np.max(np.abs(np.sort(torch, axis=None) - np.sort(flax, axis=None))) <= bound:
        return "Flax has the same numbers in another order"
    return ""


def _match(channel: np.ndarray, candidates: np.ndarray, bound: float) -> int | None:
    near = np.flatnonzero(np.max(np.abs(candidates - channel), axis=1) <= bound)
    return int(near[0]) if near.size else None


def _share(wrong: np.ndarray) -> str:
    count = int(np.count_nonzero(wrong))
    if count == wrong.size:
        return "every element differs"
    return f"{count} of {wrong.size} elements differ"


def _rows(wrong: np.ndarray) -> str:
    bad = np.flatnonzero(wrong.reshape(wrong.shape[0], -1).any(axis=1)) if wrong.ndim else np.zeros(0)
    return f"in examples {_listed(bad)} only" if 0 < bad.size < (wrong.shape[0] if wrong.ndim else 0) else ""


def _channels(wrong: np.ndarray) -> str:
    if wrong.ndim < 2:
        return ""
    bad = np.flatnonzero(np.moveaxis(wrong, 1, 0).reshape(wrong.shape[1], -1).any(axis=1))
    return f"in channels {_listed(bad)} only" if bad.size < wrong.shape[1] else ""


def _positions(wrong: np.ndarray) -> str:
    """The edges with errors, if the inside is right; else the number of positions."""
    if wrong.ndim != 4:
        return ""
    plane = wrong.any(axis=(0, 1))
    if min(plane.shape) > 2 and not plane[1:-1, 1:-1].any():
        edges = {"top": plane[0], "bottom": plane[-1], "left": plane[:, 0], "right": plane[:, -1]}
        # A corner belongs to two edges; an edge counts if more than its corners is wrong, or all are corners.
        named = [name for name, edge in edges.items() if edge[1:-1].any()]
        return f"at the {' and '.join(named) or 'corners of the'} border only"
    return "" if plane.all() else f"at {int(np.count_nonzero(plane))} of {plane.size} positions"


def _listed(values: "list[int] | np.ndarray") -> str:
    shown = ", ".join(str(int(v)) for v in values[:_MOST_LISTED])
    return shown + (", ..." if len(values) > _MOST_LISTED else "")
