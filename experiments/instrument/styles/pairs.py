"""A pair by its number: a network, a style, both texts, and both models made from the texts."""

import dataclasses
import importlib.util
import sys
import tempfile
import types
from pathlib import Path
from typing import Any

from experiments.instrument.styles import drawing, flax_source, network, planting, style, torch_source
from experiments.instrument.styles.planting import Planted
from experiments.instrument.styles.style import Style


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two texts of one network; `planted` is the defect of the port, if any."""

    number: int
    style: Style
    network: network.Network
    planted: Planted | None
    torch: str
    flax: str

    @property
    def name(self) -> str:
        """A name that says what it is, such as "7/dropout-rate"."""
        return f"{self.number}/{self.planted.kind if self.planted else 'right'}"

    @property
    def shape(self) -> str:
        """The shape of the input, as `parity check --input` takes it."""
        return "x".join(map(str, (self.network.batch, *self.network.image)))


def pair(number: int, defect: bool) -> Pair:
    """The pair of this number, right or with the defect that belongs to the number."""
    net = drawing.drawn(number)
    how = style.drawn(number, net)
    planted = planting.drawn(number, net, how) if defect else None
    port = planted.network if planted else net
    return Pair(number, how, net, planted, torch_source.written(net, how), flax_source.written(port, how))


def models(made: Pair) -> tuple[Any, Any]:
    """Both models, from modules in a temporary folder, so that line numbers lead somewhere."""
    # Lines are looked up while the models are compared, so the folder stays until the process ends.
    folder = Path(_FOLDER.name)
    label = made.name.replace("/", "_").replace("-", "_")
    return _imported(folder, f"torch_{label}", made.torch).build(), _imported(
        folder, f"flax_{label}", made.flax
    ).build()


_FOLDER = tempfile.TemporaryDirectory(prefix="styles-")


def _imported(folder: Path, name: str, text: str) -> types.ModuleType:
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Classes of data look their module up by its name.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    finally:
        del sys.modules[name]
    return module
