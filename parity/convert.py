"""Weights from one file to another, so that torchvision's load into flaxcnn and flaxcnn's into torchvision.

    .pth, .pt        torch.load(weights_only=True): tensors, never code
    .safetensors     the same names and layouts, for those who have no PyTorch
    a run folder     what `flaxcnn train` wrote

Names and layouts are PyTorch's everywhere (`flaxcnn.weights` transposes on loading), so every conversion is
bit-equal and can be undone.
"""

import contextlib
import dataclasses
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from parity.errors import WeightsError

if TYPE_CHECKING:
    import torch

Weights = dict[str, "torch.Tensor"]
PICKLED = (".pth", ".pt")
SAFE = ".safetensors"
# Where training scripts keep the state_dict in a checkpoint, and what wrappers put before every name.
_WRAPPERS = ("state_dict", "model_state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What was converted: how many tensors, numbers and bytes, and the model that they were checked against."""

    source: Path
    destination: Path
    tensors: int
    numbers: int
    size: int
    model: str | None

    def summary(self) -> str:
        """One sentence."""
        fits = f"; they fit {self.model}" if self.model else ""
        return (
            f"{self.source} -> {self.destination}: {self.tensors} tensors, {self.numbers:,} numbers, "
            f"{self.size:,} bytes{fits}."
        )


def convert(
    source: str | Path,
    destination: str | Path,
    *,
    model: str | None = None,
    options: dict[str, Any] | None = None,
    checkpoint: Literal["last", "best"] = "last",
) -> Conversion:
    """Read weights, check them against a model if one is named, and write them.

    Args:
        source: a .pth or .safetensors file, or a run folder of flaxcnn.
        destination: a .pth or .safetensors file; it is complete or absent.
        model: a name of `flaxcnn.models.names()` that the weights must fit.
        options: of that model, such as `num_classes`.
        checkpoint: which weights of a run folder.

    Raises:
        WeightsError: one sentence; of weights that do not fit, every problem.
    """
    source, destination = Path(source), Path(destination)
    write = _writer(destination)
    weights = read_weights(source, checkpoint=checkpoint)
    if model is not None:
        check_fit(weights, model, options or {})
    _write_whole(destination, weights, write)
    numbers = sum(tensor.numel() for tensor in weights.values())
    return Conversion(source, destination, len(weights), numbers, destination.stat().st_size, model)


def read_weights(path: str | Path, *, checkpoint: Literal["last", "best"] = "last") -> Weights:
    """The `state_dict` of a file or a run folder, on the CPU, without the prefixes of wrappers.

    Raises:
        WeightsError: the path is missing, damaged, of an unknown kind, or holds anything but weights.
    """
    path = Path(path)
    if path.is_dir():
        return _read_run(path, checkpoint)
    if not path.exists():
        raise WeightsError(f"{path} does not exist: give a .pth or .safetensors file, or a run folder.")
    if path.suffix.lower() in PICKLED:
        weights = _state_dict(_load_pickled(path), path)
    elif path.suffix.lower() == SAFE:
        weights = _load_safetensors(path)
    else:
        raise WeightsError(_unknown_kind(path))
    if not weights:
        raise WeightsError(f"{path} holds no tensors: give the file of a model's weights.")
    return _without_prefixes(weights)


def check_fit(weights: Weights, model: str, options: dict[str, Any]) -> None:
    """Refuse weights that do not fit a model of flaxcnn.

    Raises:
        WeightsError: there is no such model or option, or names or shapes differ; all are listed.
    """
    import torch

    from flaxcnn import models
    from flaxcnn.functional import functional
    from flaxcnn.weights import from_torch

    # NumPy has no bfloat16; only names and shapes matter here.
    arrays = {
        name: (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).numpy()
        for name, tensor in weights.items()
    }
    try:
        parts = functional(models.create(model, **options))
        from_torch(arrays, parts.params, parts.state)
    except ValueError as error:
        raise WeightsError(str(error)) from None


def _load_pickled(path: Path) -> Any:
    import pickle
    import warnings

    import torch

    try:
        # Old protocols warn; whether they can be read is told by reading them.
        with warnings.catch_warnings(), path.open("rb") as stream:
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        if refused is None:
            raise WeightsError(f"{path} is damaged or no PyTorch file; give a file of torch.save.") from None
        raise WeightsError(
            f"{path} holds the Python object {refused.group(1)} beside tensors, which could run code and is not "
            "loaded: save model.state_dict() alone."
        ) from None
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}).") from None
    except Exception as error:
        # A damaged pickle can fail in any way (EOFError, KeyError, RuntimeError, ...).
        reason = str(error).partition(".")[0] or type(error).__name__
        raise WeightsError(f"{path} is damaged ({reason}): copy or save it again.") from None


def _load_safetensors(path: Path) -> Weights:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): copy or save it again.") from None


def _state_dict(loaded: Any, path: Path) -> Weights:
    """The tensors by name, be they the file itself or one of its entries."""
    import torch

    def tensors(value: Any) -> bool:
        return isinstance(value, dict) and all(isinstance(item, torch.Tensor) for item in value.values())

    if not isinstance(loaded, dict):
        raise WeightsError(
            f"{path} holds a {type(loaded).__name__}, not a state_dict: save model.state_dict()."
        )
    if tensors(loaded):
        return dict(loaded)
    wrapped = [loaded[key] for key in _WRAPPERS if tensors(loaded.get(key))]
    if wrapped:
        return dict(wrapped[0])
    others = [str(name) for name, value in loaded.items() if not isinstance(value, torch.Tensor)]
    raise WeightsError(
        f"{path} holds entries that are not tensors ({', '.join(others[:8])}) and none of "
        f"{', '.join(_WRAPPERS)} holds a state_dict: save model.state_dict()."
    )


def _without_prefixes(weights: Weights) -> Weights:
    """The names as the model itself has them, without what DataParallel or torch.compile put before all."""
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in weights):
            return _without_prefixes({name.removeprefix(prefix): tensor for name, tensor in weights.items()})
    return weights


def _read_run(path: Path, checkpoint: Literal["last", "best"]) -> Weights:
    import torch

    from flaxcnn.train.trained import load_run
    from flaxcnn.weights import to_torch

    try:
        run = load_run(path, checkpoint)
    except ValueError as error:
        raise WeightsError(str(error)) from None
    # NumPy's view of a JAX array is read-only, which PyTorch warns about.
    return {name: torch.from_numpy(array.copy()) for name, array in to_torch(run.params, run.state).items()}


def _writer(path: Path) -> Callable[[Weights, Path], None]:
    if path.suffix.lower() in PICKLED:
        return _save_pickled
    if path.suffix.lower() == SAFE:
        return _save_safetensors
    raise WeightsError(_unknown_kind(path))


def _unknown_kind(path: Path) -> str:
    return f"{path} has an unknown ending; expected .pth, .pt or .safetensors."


def _save_pickled(weights: Weights, path: Path) -> None:
    import torch

    torch.save(weights, path)


def _save_safetensors(weights: Weights, path: Path) -> None:
    from safetensors.torch import save_file

    save_file(weights, path, metadata={"format": "pt"})


def _write_whole(path: Path, weights: Weights, write: Callable[[Weights, Path], None]) -> None:
    """Write under a temporary name, then rename."""
    # Each name gets memory of its own: safetensors refuses tied weights, and a view would drag in its whole base.
    own = {name: tensor.detach().contiguous().clone() for name, tensor in weights.items()}
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(own, temporary)
        temporary.replace(path)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        # PyTorch reports a file that it cannot open as a RuntimeError.
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"{path} cannot be written ({reason}): give another path.") from None
