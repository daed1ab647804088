"""Unexpected behaviour of torchvision's augmentation, each with its smallest reproducer.

Two quirks make torchvision's result useless as a reference. torchvision computes the hue in float32, so the suite
compares with an independent formula, `hue_in_float64`. It resizes wrongly to a width of 1 with antialias, so the suite
compares with its resize of the transposed image.
"""

import dataclasses
from collections.abc import Callable

import torch
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode, functional


@dataclasses.dataclass(frozen=True)
class TorchvisionQuirk:
    """One unexpected behaviour of torchvision.

    Attributes:
        operation: the suite's name of the operation.
        torchvision: the behaviour of torchvision, in a sentence.
        flaxcnn: the behaviour of flaxcnn, in a sentence.
        reproduce: whether the installed torchvision still behaves so.
    """

    operation: str
    torchvision: str
    flaxcnn: str
    reproduce: Callable[[], bool]


def hue_in_float64(image: torch.Tensor, shift: float) -> torch.Tensor:
    """Turn the hue of an RGB image by a part of the colour circle, in the image's own precision.

    By A. R. Smith's sectors: with the hue in sixths of the circle 6 h = i + f, the saturation s and the value v, the
    colour is, for i = 0 .. 5, (v, t, p), (q, v, p), (p, v, t), (p, q, v), (t, p, v), (v, p, q), where

        p = v (1 - s),   q = v (1 - s f),   t = v (1 - s (1 - f))

    Args:
        image: [3 h w] or [1 h w], in [0, 1]; a grey image is returned as it is.
        shift: in [-1/2, 1/2].

    Reference: A. R. Smith, "Color gamut transform pairs", 1978; Python's colorsys.
    """
    if image.shape[0] == 1:
        return image
    red, green, blue = image
    value, low = image.amax(dim=0), image.amin(dim=0)
    chroma = value - low
    coloured = chroma > 0
    divisor = chroma.where(coloured, 1)
    saturation = torch.where(coloured, chroma / value.where(coloured, 1), 0)
    sixths = torch.where(
        red == value,
        (green - blue) / divisor,
        torch.where(green == value, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    turned = (sixths + 6 * shift) % 6
    sector = turned.floor()
    fraction = turned - sector
    p = value * (1 - saturation)
    q = value * (1 - saturation * fraction)
    t = value * (1 - saturation * (1 - fraction))
    sectors = [(value, t, p), (q, value, p), (p, value, t), (p, q, value), (t, p, value), (value, p, q)]
    result = torch.empty_like(image)
    for number, colour in enumerate(sectors):
        # The remainder of a tiny negative number rounds up to 6, which is sector 0 again.
        result = torch.where(sector % 6 == number, torch.stack(colour), result)
    return result


def _one_column_repeats_its_first_row() -> bool:
    column = torch.tensor([0.0, 1.0]).reshape(1, 2, 1)
    wrong, right = (
        functional.resize(x, size, antialias=True) for x, size in ((column, [3, 1]), (column.mT, [1, 3]))
    )
    return wrong.flatten().tolist() == [0, 0, 0] and right.flatten().tolist() == [0, 0.5, 1]


def _hue_in_float32() -> bool:
    image = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float64).reshape(3, 1, 1)
    in_float64 = functional.adjust_hue(image, 0.1)
    return torch.equal(in_float64, functional.adjust_hue(image.float(), 0.1).double())


def _border_weighed_twice() -> bool:
    image = torch.ones(1, 1, 2, dtype=torch.float64)
    once, twice = (functional.rotate(image, 45, InterpolationMode.BILINEAR, fill=f) for f in (None, 0))
    return torch.allclose(twice, once**2, rtol=1e-12) and not torch.allclose(twice, once)


def _half_rounds_to_even() -> bool:
    columns = [int(functional.center_crop(torch.arange(n).reshape(1, 1, n), [1, 2])[0, 0, 0]) for n in (3, 5)]
    return columns == [0, 2]


def _no_zero_std() -> bool:
    try:
        functional.normalize(torch.ones(1, 1, 1), [1.0], [0.0])
    except ValueError:
        return True
    return False


def _one_draw_a_batch() -> bool:
    torch.manual_seed(0)
    image = torch.arange(9.0).reshape(1, 1, 3, 3)
    batches = [v2.RandomCrop(3, padding=1)(image.repeat(8, 1, 1, 1)) for _ in range(8)]
    return all(torch.equal(batch, batch[:1].expand_as(batch)) for batch in batches)


def _share_below_one() -> bool:
    torch.manual_seed(0)
    draws = torch.distributions.Beta(torch.tensor(0.2), torch.tensor(0.2)).sample((1000,))
    return draws.max().item() == 1 - 2**-24


def _nearest_by_default() -> bool:
    return InterpolationMode(v2.RandomRotation(10).interpolation) == InterpolationMode.NEAREST


QUIRKS = (
    TorchvisionQuirk(
        "resize_antialias",
        "`resize` with antialias to a width of 1 repeats the first row down the whole column (a bug of PyTorch's "
        "`interpolate`): [[0], [1]] to 3x1 gives 0, 0, 0.",
        "`resize` gives 0, 1/2, 1; compared with torchvision's resize of the transposed image.",
        _one_column_repeats_its_first_row,
    ),
    TorchvisionQuirk(
        "hue",
        "`adjust_hue` of a float64 image computes in float32.",
        "`adjust_hue` computes in the image's precision; compared with a formula in float64.",
        _hue_in_float32,
    ),
    TorchvisionQuirk(
        "rotate",
        "`rotate` with a fill weighs the border by its coverage twice; without one, once.",
        "`rotate_images` does the same.",
        _border_weighed_twice,
    ),
    TorchvisionQuirk(
        "rotate",
        "`RandomRotation` picks the nearest pixel unless told otherwise.",
        "`random_rotate` reads bilinearly; compared with `InterpolationMode.BILINEAR`.",
        _nearest_by_default,
    ),
    TorchvisionQuirk(
        "centre_crop",
        "`center_crop` rounds half an odd rest to the even number.",
        "`centre_crop` does the same.",
        _half_rounds_to_even,
    ),
    TorchvisionQuirk(
        "normalise",
        "`normalize` refuses a std of 0.",
        "`normalise` gives 0 there; not compared.",
        _no_zero_std,
    ),
    TorchvisionQuirk(
        "crop_at",
        "A random transform draws once for all images of a batch.",
        "Each image gets its own draw; compared with one call an image.",
        _one_draw_a_batch,
    ),
    TorchvisionQuirk(
        "mixup",
        "`MixUp` draws a share of at most 1 - 2^-24, on which one draw in fifty falls at alpha 0.2.",
        "`mixup` rounds such a draw to 1; compared to five decimals.",
        _share_below_one,
    ),
)
