"""Differences of what a module draws: PyTorch's masks, which a run gives to both sides, hide them."""

from collections.abc import Callable

from torch import nn

from experiments.instrument.hidden.difference import Difference, channels_first, image, module
from experiments.instrument.hidden.drops import Drop, TorchDrop, flax_drop
from experiments.instrument.hidden.sites import Site


def _drop(
    name: str, torch: nn.Module | Drop, flax: Drop, fits: Callable[[Site], bool] = channels_first
) -> Difference:
    def made() -> nn.Module:
        return TorchDrop(torch) if isinstance(torch, Drop) else type(torch)(torch.p)  # type: ignore[call-arg]

    return module(name, fits, lambda _: made(), lambda channels, style, rngs: flax_drop(flax, style))


PATHS = Drop(0.2, "images")
# Another factor of what is kept shows in a run, and so does what is dropped in evaluation: neither is hidden.
DIFFERENCES: tuple[Difference, ...] = (
    _drop("drops 0.3; never", nn.Dropout(0.3), Drop(0.3, train=False)),
    _drop("drops elements; channels", nn.Dropout(0.3), Drop(0.3, "channels"), image),
    _drop("drops 0.2; 0.22, scaled as for 0.2", nn.Dropout(0.2), Drop(0.22, factor=1.25)),
    _drop("drops channels; elements", nn.Dropout2d(0.3), Drop(0.3), image),
    _drop("drops elements; images", nn.Dropout(0.3), Drop(0.3, "images")),
    _drop("drops images; the whole batch", PATHS, Drop(0.2, "batch")),
    _drop("drops images; never", PATHS, Drop(0.2, "images", train=False)),
    _drop("drops images; channels", PATHS, Drop(0.2, "channels"), image),
    _drop("drops elements; the same in every example", nn.Dropout(0.3), Drop(0.3, everywhere=True)),
    _drop("drops images 0.2; 0.3, scaled as for 0.2", PATHS, Drop(0.3, "images", factor=1.25)),
    _drop("drops elements; positions", nn.Dropout(0.3), Drop(0.3, "positions"), image),
    _drop("drops anew in each call; the same elements", nn.Dropout(0.3), Drop(0.3, fixed=True)),
    _drop(
        "drops channels 0.2; 0.25, scaled as for 0.2", nn.Dropout2d(0.2), Drop(0.25, "channels", 1.25), image
    ),
    _drop("drops to 0; to -1", Drop(0.3), Drop(0.3, value=-1.0)),
    _drop("drops elements; the whole batch", nn.Dropout(0.3), Drop(0.3, "batch")),
    _drop(
        "multiplies by noise of 0.3; of 0.33", Drop(0.3, noise="multiplied"), Drop(0.33, noise="multiplied")
    ),
    _drop("multiplies by normal noise; uniform", Drop(0.3, noise="multiplied"), Drop(0.3, noise="uniform")),
    _drop("drops 0.2; multiplies by normal noise", nn.Dropout(0.2), Drop(0.5, noise="multiplied")),
    _drop("adds noise of 0.3; of 0.35", Drop(0.3, noise="added"), Drop(0.35, noise="added")),
)
