"""Trained weights put into a new network: a head for the new classes, a first layer for the new channels."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from flax import nnx

from flaxcnn import weights
from flaxcnn.config import Config, ConfigError
from flaxcnn.functional import fill, functional
from flaxcnn.text import printable
from flaxcnn.train.loading import Loaded
from flaxcnn.train.setup import Start
from flaxcnn.transfer import facts
from flaxcnn.transfer.names import first_convolution, head_of
from flaxcnn.weights import Arrays, WeightsError

# How many of the layers that differ an error names.
_NAMED = 3


def start(config: Config, tell: Callable[[str], object]) -> Start:
    """What puts the weights of `config.transfer.start` into a new model of the run.

    Args:
        config: of the run.
        tell: is given what the user should know, a sentence each.

    The function raises WeightsError if the weights are of another architecture, and ConfigError if the images have
    other channels than they were trained on.
    """
    path = config.transfer.start
    assert path is not None
    known, arrays = facts.of(path), _arrays(path, config.transfer.start_checkpoint)

    def put(model: nnx.Module, loaded: Loaded) -> Loaded:
        classes = loaded.splits.info.class_names
        params, state = functional(model)[1:]
        taken = arrays
        head = head_of(model)
        if known.classes != list(classes):
            had = arrays.get(f"{head}.weight")
            tell(
                f"The head {head} is new, for {len(classes)} classes; the start had "
                + ("none." if had is None else f"{len(had)}.")
            )
            taken = _with_new_head(arrays, head, weights.to_torch(params, state))
        stem = f"{first_convolution(model)}.weight"
        channels = loaded.splits.info.image_shape[2]
        inputs = taken[stem].shape[1] if stem in taken and taken[stem].ndim == 4 else channels
        if inputs != channels:
            if config.transfer.stem_channels == "repeat":
                raise ConfigError(
                    f"The weights {printable(path)} are for images of {inputs} channels, but the images have "
                    f"{channels}; give --stem-channels sum."
                )
            taken = taken | {stem: adapted(taken[stem], channels)}
            tell(f"The first layer takes {channels} channels now: the sum of its {inputs}, in equal shares.")
        _fill(model, taken, path, config.model.model)
        mean, std = (_of_channels(config, name, inputs, channels) for name in ("mean", "std"))
        return dataclasses.replace(loaded, mean=mean, std=std)

    return put


def adapted(kernel: np.ndarray, channels: int) -> np.ndarray:
    """A kernel of PyTorch's layout `[o, i, h, w]` for other input channels: the sum over i, in equal shares.

    For one channel this gives what the old kernel gives for grey images as RGB.
    """
    share = kernel.sum(axis=1, keepdims=True, dtype=np.float64) / channels
    return np.repeat(share, channels, axis=1).astype(kernel.dtype)


def _arrays(path: str, checkpoint: str) -> Arrays:
    """Arrays by PyTorch's names, in PyTorch's layouts."""
    if not Path(path).is_dir():
        return weights.read(path)[0]
    from flaxcnn.train.trained import load_run

    trained = load_run(path, checkpoint)
    return weights.to_torch(trained.params, trained.state)


def _with_new_head(arrays: Arrays, head: str, fresh: Arrays) -> Arrays:
    """The arrays with the head of the new model, as it was initialised, instead of their own."""
    kept = {name: value for name, value in arrays.items() if not name.startswith(f"{head}.")}
    return kept | {name: value for name, value in fresh.items() if name.startswith(f"{head}.")}


def _fill(model: nnx.Module, arrays: Arrays, path: str, name: str) -> None:
    """Put arrays into a model, in place.

    Raises:
        WeightsError: they do not fit; it says how many do not, and names the first ones in the network's order.
    """
    params, state = functional(model)[1:]
    found, problems = weights.fitted(arrays, params, state)
    if problems:
        named = "; ".join(problems[:_NAMED]) + ("; ..." if len(problems) > _NAMED else "")
        raise WeightsError(
            f"The weights {printable(path)} are of another architecture than {name}: {len(problems)} of their arrays "
            f"do not fit ({named}); name their model by --model, and its options by --model-options."
        )
    wanted = params | state
    filled = {key: jnp.asarray(found.get(key, value), value.dtype) for key, value in wanted.items()}
    fill(model, {key: filled[key] for key in params}, {key: filled[key] for key in state})


def _of_channels(config: Config, name: str, inputs: int, channels: int) -> np.ndarray:
    """The mean or std of the start for the images: as it is, or its average where the channels are others.

    Raises:
        ConfigError: there is not one number for each channel of the first layer.
    """
    values = getattr(config.transfer, name)
    if values is None or len(values) not in (1, inputs):
        given = "not given" if values is None else f"{len(values)} numbers"
        raise ConfigError(
            f"{name} is {given}, but the first layer of the start takes {inputs} channels; give one number for each "
            f"by --{name}."
        )
    values = np.broadcast_to(np.asarray(values, np.float64), inputs)
    return (values if inputs == channels else np.full(channels, values.mean())).astype(np.float32)
