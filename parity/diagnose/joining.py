"""How tensors are joined in the connection between layers, and brought into the shape of what follows."""

import math

import torch

ONLY, SUM, PRODUCT, CONCATENATION = "only", "sum", "product", "concatenation"
CHW, HWC = "C, H, W", "H, W, C"
# Ends the name of an image that is given with its channels in reverse.
REVERSED = ", channels reversed"


def with_channels_second(y: torch.Tensor, out: tuple[int, ...]) -> torch.Tensor:
    """An image whose channels lie last, judged by those of the target, with its channels second."""
    last = y.ndim == 4 and len(out) > 1 and y.shape[1] != out[1] and y.shape[-1] == out[1]
    return y.movedim(-1, 1) if last else y


def channels_moved(shape: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """An image's shape with its channels moved last, or back from there."""
    if len(shape) < 3:
        return ()
    return (shape[0], *shape[2:], shape[1]), (shape[0], shape[-1], *shape[1:-1])


def broadcasts(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Whether one is a number a channel for the other."""
    long, short = (a, b) if len(a) >= len(b) and math.prod(a) >= math.prod(b) else (b, a)
    return len(long) == 4 and short[:2] == long[:2] and math.prod(short[2:]) == 1


def joined(join: str, parts: list[torch.Tensor]) -> torch.Tensor:
    """The parts as one tensor; of a sum, the second part is laid out as the first."""
    if join == ONLY:
        return parts[0]
    if join == SUM:
        a, b = parts
        if a.shape != b.shape and b.ndim > 2:
            b = b.movedim(1, -1) if b.movedim(1, -1).shape == a.shape else b.movedim(-1, 1)
        return a + b
    if join == PRODUCT:
        a, b = parts
        if a.ndim != b.ndim:
            short, long = sorted(parts, key=lambda part: part.ndim)
            return long * short.reshape((*short.shape[:2], *(1,) * (long.ndim - 2)))
        return a * b
    return torch.cat(parts, 1)


def shaped(y: torch.Tensor, shape: tuple[int, ...], flatten: str) -> torch.Tensor | None:
    """`y` as it is, flattened, or with its channels where the target has them."""
    if tuple(y.shape) == shape:
        return y
    if len(shape) == 2 and y.ndim > 2:
        moved = y.movedim(1, -1) if flatten == HWC else y
        return moved.reshape(y.shape[0], -1)
    for moved in (y.movedim(1, -1), y.movedim(-1, 1)) if y.ndim > 2 else ():
        if tuple(moved.shape) == shape:
            return moved
    if len(shape) > 2 and y.ndim > 2 and y.numel() == math.prod(shape):
        return y.reshape(shape)
    return None
