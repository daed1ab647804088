"""The computations of the suite `losses`, by PyTorch and by flaxcnn: values and gradients.

Each function returns a recording, one dictionary a comparison, under the same names on both sides.
"""

import itertools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import v2

from flaxcnn import ops
from flaxcnn.config import LossConfig
from flaxcnn.train import mix
from flaxcnn.train.step import penalty
from parity.capture.flax import precision
from parity.suites.options import Options
from parity.suites.stepwise import Recording

Arrays = dict[str, np.ndarray]
SMOOTHING = (0.0, 0.1, 1.0)
PARAMETERS = ("weight", "bias")


def grid(options: Options) -> list[dict[str, Any]]:
    """Label smoothing by class weights: the settings of a case of `cross_entropy`."""
    pairs = itertools.product(SMOOTHING, (False, True))
    return [{"label_smoothing": s, "weighted": w, "reduction": options["reduction"]} for s, w in pairs]


def torch_cross_entropy(options: Options, arrays: Arrays, dtype: str) -> Recording:
    """`torch.nn.functional.cross_entropy` and its gradients, for every setting of the grid."""
    recording = []
    for setting in grid(options):
        logits = torch.tensor(arrays["logits"].astype(dtype), requires_grad=True)
        labels = torch.tensor(_cast(arrays["labels"], dtype))
        more = {} if options["ignore_index"] is None else {"ignore_index": options["ignore_index"]}
        loss = functional.cross_entropy(
            logits,
            labels,
            weight=torch.tensor(arrays["class_weights"].astype(dtype)) if setting["weighted"] else None,
            label_smoothing=setting["label_smoothing"],
            reduction=setting["reduction"],
            **more,
        )
        cotangent = torch.tensor(_cotangent(arrays, setting).astype(dtype))
        (gradient,) = torch.autograd.grad(loss, logits, cotangent)
        recording.append({"loss": loss.detach().numpy(), "gradient of the logits": gradient.numpy()})
    return recording


def flax_cross_entropy(options: Options, arrays: Arrays, dtype: str) -> Recording:
    """`flaxcnn.ops.cross_entropy` and its gradients, by JAX; every setting of the grid."""
    more = {} if options["ignore_index"] is None else {"ignore_index": options["ignore_index"]}

    def computed(
        setting: dict[str, Any], logits: jax.Array, given: dict[str, jax.Array]
    ) -> dict[str, jax.Array]:
        def loss(logits: jax.Array) -> jax.Array:
            return ops.cross_entropy(
                logits,
                given["labels"],
                class_weights=given["class_weights"] if setting["weighted"] else None,
                label_smoothing=setting["label_smoothing"],
                reduction=setting["reduction"],
                **more,
            )

        value, back = jax.vjp(loss, logits)
        (gradient,) = back(_cotangent(given, setting))
        return {"loss": value, "gradient of the logits": gradient}

    with precision(dtype):
        given = {name: jnp.asarray(_cast(array, dtype)) for name, array in arrays.items()}
        logits = given.pop("logits")
        # One program: compiling op by op would take longer than everything else.
        recording = jax.jit(
            lambda logits, given: [computed(setting, logits, given) for setting in grid(options)]
        )(logits, given)
    return [{name: np.asarray(value) for name, value in step.items()} for step in recording]


def torch_objective(options: Options, arrays: Arrays, dtype: str) -> Recording:
    """Mixed images through a linear classifier, cross-entropy with smoothing, L1 and L2: value and gradients."""
    images, targets = torch_mixed(options, arrays, dtype)
    images.requires_grad_()
    params = {name: torch.tensor(arrays[name].astype(dtype), requires_grad=True) for name in PARAMETERS}
    logits = images.flatten(1) @ params["weight"] + params["bias"]
    loss = functional.cross_entropy(logits, targets, label_smoothing=options["label_smoothing"])
    for name, norm in (("l1", Tensor.abs), ("l2", Tensor.square)):
        if options[name]:
            loss = loss + options[name] * sum(norm(p).sum() for p in params.values())
    gradients = torch.autograd.grad(loss, [images, *params.values()])
    tensors = _mixed_names(images, targets) | {"loss": loss}
    tensors |= {f"gradient of the {name}": g for name, g in zip(("images", *params), gradients, strict=True)}
    return [{name: value.detach().numpy() for name, value in tensors.items()}]


def flax_objective(options: Options, arrays: Arrays, dtype: str) -> Recording:
    """The same by the objective of `flaxcnn.train.step`; padded rows are masked, and left out of the record."""
    rows, padded = len(arrays["images"]), options["padded"]
    config = LossConfig(label_smoothing=options["label_smoothing"], l1=options["l1"], l2=options["l2"])
    mask = np.arange(rows + padded) < rows

    def run(images: jax.Array, labels: jax.Array, params: dict[str, jax.Array]) -> dict[str, jax.Array]:
        kept = jnp.asarray(mask) if padded else None
        images, targets = flax_mixed(options, images, labels, params["weight"].shape[1], kept)

        def objective(images: jax.Array, params: dict[str, jax.Array]) -> jax.Array:
            # PyTorch flattens channels first.
            flat = _channels_first(images).reshape(len(images), -1)
            logits = ops.dense(flat, params["weight"], params["bias"])
            loss = ops.cross_entropy(logits, targets, label_smoothing=config.label_smoothing, mask=kept)
            return loss + penalty(params, config)

        value, (pull, gradient) = jax.value_and_grad(objective, (0, 1))(images, params)
        tensors = _mixed_names(_channels_first(images[:rows]), targets[:rows]) | {"loss": value}
        tensors |= {"gradient of the images": _channels_first(pull[:rows])}
        return tensors | {f"gradient of the {name}": gradient[name] for name in PARAMETERS}

    with precision(dtype):
        params = {name: jnp.asarray(arrays[name].astype(dtype)) for name in PARAMETERS}
        images, labels = _padded(arrays, padded, dtype)
        tensors = jax.jit(run)(jnp.asarray(images), jnp.asarray(labels), params)
    return [{name: np.asarray(value) for name, value in tensors.items()}]


def torch_mixed(options: Options, arrays: Arrays, dtype: str) -> tuple[Tensor, Tensor]:
    """Images and targets by `torchvision.transforms.v2`, with the random numbers of the case's seed."""
    images = torch.tensor(arrays["images"].astype(dtype))
    labels = torch.tensor(arrays["labels"])
    classes = arrays["weight"].shape[1]
    if options["mixing"] is None:
        return images, labels
    # As probabilities: given integers, torchvision makes float32 targets whatever the images are (see quirks).
    one_hot = functional.one_hot(labels, classes).to(images.dtype)
    kind = {"mixup": v2.MixUp, "cutmix": v2.CutMix}[options["mixing"]]
    torch.manual_seed(options["seed"])
    return kind(alpha=options["alpha"], num_classes=classes)(images, one_hot)


def flax_mixed(
    options: Options, images: jax.Array, labels: jax.Array, classes: int, mask: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Images [n h w c] and targets by `flaxcnn.train.mix`, with the random numbers that torchvision draws."""
    if options["mixing"] is None:
        return images, labels
    one_hot = jax.nn.one_hot(labels, classes, dtype=images.dtype)
    _, height, width, _ = images.shape
    lam, center_x, center_y = drawn_by_torchvision(options, height, width)
    partners, share = mix.partners(images, mask), jnp.asarray(lam, float)
    if options["mixing"] == "mixup":
        return mix.mixup_with(images, one_hot, share, partners)
    box = mix.cutmix_box(share, jnp.asarray(center_x), jnp.asarray(center_y), height, width)
    return mix.cutmix_with(images, one_hot, box, partners)


def drawn_by_torchvision(options: Options, height: int, width: int) -> tuple[float, int, int]:
    """The share and the centre that `MixUp` and `CutMix` draw after the case's seed, drawn in their order."""
    alpha = torch.tensor([options["alpha"]], dtype=torch.float32)
    torch.manual_seed(options["seed"])
    lam = float(torch.distributions.Beta(alpha, alpha).sample(()))
    return lam, int(torch.randint(width, size=(1,))), int(torch.randint(height, size=(1,)))


def _mixed_names(images: Any, targets: Any) -> dict[str, Any]:
    """The tensors to record: mixed targets, which are distributions, and no integer labels."""
    return {"images": images, "targets": targets} if targets.ndim == 2 else {"images": images}


def _padded(arrays: Arrays, padding: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Images [n h w c] and labels, with `padding` more rows, whose values must not matter."""
    images = np.moveaxis(arrays["images"], 1, -1).astype(dtype)
    filling = np.full((padding, *images.shape[1:]), 7.0, dtype)
    return np.concatenate([images, filling]), np.concatenate([arrays["labels"], np.zeros(padding, np.int64)])


def _cotangent(arrays: Mapping[str, Any], setting: dict[str, Any]) -> Any:
    return arrays["cotangents"] if setting["reduction"] == "none" else arrays["cotangents"][0]


def _cast(labels: np.ndarray, dtype: str) -> np.ndarray:
    return labels.astype(dtype) if labels.dtype.kind == "f" else labels


def _channels_first(images: jax.Array) -> jax.Array:
    return jnp.moveaxis(images, -1, 1)
