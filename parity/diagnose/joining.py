"""How the connection between layers joins tensors and brings the result into the shape of the target."""

import enum
import math

import torch

# The end of the name of an image whose channels are reversed.
REVERSED = ", channels reversed"


class Join(enum.Enum):
    """How the tensors become one; `ONLY` is for a single tensor."""

    ONLY = "only"
    SUM = "sum"
    PRODUCT = "product"
    CONCATENATION = "concatenation"


class FlattenOrder(enum.Enum):
    """The order of the axes of an image that is flattened."""

    CHW = "C, H, W"
    HWC = "H, W, C"


def with_channels_second(y: torch.Tensor, out: tuple[int, ...]) -> torch.Tensor:
    """The image with its channels second; they are moved there if the target shows that they lie last."""
    last = y.ndim == 4 and len(out) > 1 and y.shape[1] != out[1] and y.shape[-1] == out[1]
    return y.movedim(-1, 1) if last else y


def channels_moved(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """An image's shape with its channels moved last, or back from there."""
    if len(shape) < 3:
        return ()
    return (shape[0], *shape[2:], shape[1]), (shape[0], shape[-1], *shape[1:-1])


def broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether one of the shapes has one number for each channel of the other."""
    long, short = (a, b) if len(a) >= len(b) and math.prod(a) >= math.prod(b) else (b, a)
    return len(long) == 4 and short[:2] == long[:2] and math.prod(short[2:]) == 1


def joined(join: Join, parts: list[torch.Tensor]) -> torch.Tensor:
    """The parts as one tensor; the second part of a sum takes the layout of the first."""
    if join is Join.ONLY:
        return parts[0]
    if join is Join.SUM:
        a, b = parts
        if a.shape != b.shape and b.ndim > 2:
            b = b.movedim(1, -1) if b.movedim(1, -1).shape == a.shape else b.movedim(-1, 1)
        return a + b
    if join is Join.PRODUCT:
        a, b = parts
        if a.ndim != b.ndim:
            short, long = sorted(parts, key=lambda part: part.ndim)
            return long * short.reshape((*short.shape[:2], *(1,) * (long.ndim - 2)))
        return a * b
    return torch.cat(parts, 1)


def shaped(y: torch.Tensor, shape: tuple[int, ...], flatten: FlattenOrder) -> torch.Tensor | None:
    """`y` in the target's shape: unchanged, flattened, with its channels moved, or reshaped; else None."""
    if tuple(y.shape) == shape:
        return y
    if len(shape) == 2 and y.ndim > 2:
        moved = y.movedim(1, -1) if flatten is FlattenOrder.HWC else y
        return moved.reshape(y.shape[0], -1)
    for moved in (y.movedim(1, -1), y.movedim(-1, 1)) if y.ndim > 2 else ():
        if tuple(moved.shape) == shape:
            return moved
    if len(shape) > 2 and y.ndim > 2 and y.numel() == math.prod(shape):
        return y.reshape(shape)
    return None
