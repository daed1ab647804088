"""Hints: a student learns also from what comes out of layers inside its teacher.

    hints = 1/2 sum over the pairs of mean (r(output of the student's layer) - output of the teacher's)^2

r is a learned projection, a 1x1 convolution or a dense layer, where the two have another number of channels, else the
identity. It is a parameter `hint.LAYER.weight` while the student is taught, and is dropped at the end. The mean is
taken over the elements of the rows that count.

Reference: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", equation 3, there as a stage of its own.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Num

from flaxcnn import ops
from flaxcnn.compress.layers import modules_of
from flaxcnn.config import Config
from flaxcnn.errors import InvalidArgument, hint
from flaxcnn.functional import Parameters, State, bind, functional
from flaxcnn.models.replaced import Watched, replace_layer

PREFIX = "hint."


def without(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays that are not of hints."""
    return {name: value for name, value in arrays.items() if not name.startswith(PREFIX)}


def watching(
    config: Config, model: nnx.Module, names: Iterable[str], whose: str
) -> Callable[..., tuple[Float[Array, "n k"], State]]:
    """The pure function of a model that adds to the state, as `hint.LAYER`, what comes out of some layers.

    Args:
        config: of its run, by which it is computed.
        model: that is watched; it is not changed.
        names: of layers; the output of the last call counts.
        whose: `student` or `teacher`, for the error.

    Raises:
        InvalidArgument: it has no such layer.
    """
    known = modules_of(model)
    for name in (names := tuple(names)):
        if name not in known:
            raise InvalidArgument(f"hints: the {whose} has no layer {name!r}: {hint(name, known)}")
    rules = contextlib.nullcontext if config.run.fast_rules else ops.fast_rules
    # What is inside another is replaced before it, and put back after it.
    ordered = sorted(names, key=lambda name: name.count("."), reverse=True)

    def watched(
        params: Parameters, state: State, x: Float[Array, "n h w c"], **options: Any
    ) -> tuple[Float[Array, "n k"], State]:
        dtype, arrays, found = x.dtype, without(params), {}
        if config.run.precision == "bfloat16":
            arrays = {name: value.astype(jnp.bfloat16) for name, value in arrays.items()}
            x = x.astype(jnp.bfloat16)
        module = bind(model, arrays, state)
        for name in ordered:

            def note(_: Array, y: Array, name: str = name) -> None:
                found[PREFIX + name] = y.astype(dtype)

            replace_layer(module, name, lambda layer, note=note: Watched(layer, note))
        with rules():
            logits = module(x, **options)
        for name in reversed(ordered):
            replace_layer(module, name, lambda stand_in: stand_in.layer)
        return logits.astype(dtype), functional(module).state | found

    return watched


def projections(
    student: Mapping[str, jax.ShapeDtypeStruct],
    teacher: Mapping[str, jax.ShapeDtypeStruct],
    pairs: Mapping[str, str],
    seed: int,
) -> Parameters:
    """New projections for the pairs whose numbers of channels differ, drawn as `torch.nn.Conv2d` draws.

    Args:
        student, teacher: the outputs of their layers, as `hint.LAYER`.
        pairs: for each layer of the student, that of the teacher.
        seed: of the draw.

    Raises:
        InvalidArgument: the two outputs of a pair have other numbers of axes or of pixels.
    """
    draw, result = np.random.default_rng(seed), {}
    for one, other in pairs.items():
        shapes = [item[PREFIX + name].shape for item, name in ((student, one), (teacher, other))]
        if len(shapes[0]) not in (2, 4) or shapes[0][:-1] != shapes[1][:-1]:
            sizes = [" x ".join(map(str, shape[1:])) for shape in shapes]
            raise InvalidArgument(
                f"hints: {one} of the student gives {sizes[0]} numbers an image and {other} of the teacher {sizes[1]}; "
                "choose layers with the same number of rows and columns."
            )
        inputs, outputs = shapes[0][-1], shapes[1][-1]
        if inputs != outputs:
            size = (*(1 for _ in shapes[0][:-2]), inputs, outputs)
            bound = 1 / np.sqrt(inputs)
            result[f"{PREFIX}{one}.weight"] = jnp.asarray(draw.uniform(-bound, bound, size), jnp.float32)
    return result


def hint_loss(
    student: Mapping[str, Num[Array, "..."]],
    teacher: Mapping[str, Num[Array, "..."]],
    pairs: Mapping[str, str],
    params: Parameters,
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """Half the mean squared differences of all pairs; 0 if no row counts.

    Args:
        student, teacher: the outputs of their layers, as `hint.LAYER`, among others; no gradient goes to the teacher.
        pairs: for each layer of the student, that of the teacher.
        params: with the projections.
        mask: which rows count.
    """
    total = jnp.zeros((), student[PREFIX + next(iter(pairs))].dtype)
    for one, other in pairs.items():
        mine, wanted = student[PREFIX + one], jax.lax.stop_gradient(teacher[PREFIX + other])
        weight = params.get(f"{PREFIX}{one}.weight")
        counted = mask.reshape(-1, *(1 for _ in mine.shape[1:]))
        # Before the product: a NaN in a row that does not count must not reach the gradient.
        mine, wanted = (jnp.where(counted, values, jnp.zeros_like(values)) for values in (mine, wanted))
        if weight is not None:
            mine = ops.conv2d(mine, weight) if mine.ndim == 4 else ops.dense(mine, weight)
        number = jnp.maximum(jnp.sum(mask), 1).astype(total.dtype) * (mine.size // len(mask))
        total = total + 0.5 * jnp.sum((mine - wanted) ** 2) / number
    return total
