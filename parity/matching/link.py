"""One array of both sides."""

import dataclasses

from parity.matching.layouts import LayoutConversion


@dataclasses.dataclass(frozen=True)
class Link:
    """One array of both sides and the layout between them."""

    torch: str
    flax: str
    layout: LayoutConversion
    torch_trainable: bool
    flax_trainable: bool
