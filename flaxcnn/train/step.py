"""The training step: a pure function from (train state, batch) to (train state, metrics).

    augment -> normalise -> mix -> apply -> loss -> gradient -> update -> moving average

Nothing here is specific to a device; `flaxcnn.train.compiling` compiles it, once a run.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from flaxcnn import data, ops, optim
from flaxcnn.config import AugmentConfig, LossConfig
from flaxcnn.functional import Apply, Parameters
from flaxcnn.train import ema
from flaxcnn.train.mix import cutmix, mixup
from flaxcnn.train.state import TrainState, averaged

Batch = dict[str, Array | np.ndarray]
Metrics = dict[str, Float[Array, ""] | Int[Array, ""]]
TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a step needs beside its arguments; all of it is fixed for the run.

    Attributes:
        apply: the model as a pure function.
        optimiser: an optax transformation that returns the updates to add.
        schedule: learning rate of each step, for the record (the optimiser has its own copy).
        num_classes: size of the logits.
        mean, std: of the training images per channel, in units of [0, 1].
        augment, loss: settings.
        class_weights: the weight of each class in the loss; all alike where None.
        ema_decay: of the moving average of the weights; 0 is off.
    """

    apply: Apply
    optimiser: optax.GradientTransformation
    schedule: Callable[[Int[Array, ""]], Float[Array, ""]]
    num_classes: int
    mean: Float[Array, " c"]
    std: Float[Array, " c"]
    augment: AugmentConfig = AugmentConfig()
    loss: LossConfig = LossConfig()
    class_weights: Float[Array, " k"] | None = None
    ema_decay: float = 0.0


# Mixup and cutmix mix labels too, and boxes are erased after the normalisation; `augment` makes all others.
_AUGMENTATIONS = sorted(
    {field.name for field in dataclasses.fields(AugmentConfig)} - {"mixup", "cutmix", "erasing"}
)
# Beyond the numbers that `augment` folds its key with.
_ERASING = 100


def prepared(
    images: UInt8[Array, "n h w c"] | Float[Array, "n h w c"], recipe: Recipe, key: Key[Array, ""] | None
) -> Float[Array, "n h w c"]:
    """Images as the model wants them: in [0, 1], augmented where `key` is given, else cropped, normalised.

    Boxes are erased from normalised images, so that the 0 in them is the mean colour of the training images.
    """
    x, settings = data.to_float(images), recipe.augment
    if key is None:
        size = settings.crop_size
        return data.normalise(
            x if size is None else data.centre_crop(x, (size, size)), recipe.mean, recipe.std
        )
    chosen = {name: getattr(settings, name) for name in _AUGMENTATIONS}
    x = data.normalise(data.augment(key, x, **chosen), recipe.mean, recipe.std)
    if not settings.erasing:
        return x
    return data.random_erasing(jax.random.fold_in(key, _ERASING), x, settings.erasing)


def mixed(
    images: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    mask: Bool[Array, " n"],
    recipe: Recipe,
    key: Key[Array, ""],
) -> tuple[Float[Array, "n h w c"], Int[Array, " n"] | Float[Array, "n k"]]:
    """Images and their targets after mixup or cutmix; integer labels where both are off."""
    settings = recipe.augment
    if not (settings.mixup or settings.cutmix):
        return images, labels
    targets = jax.nn.one_hot(labels, recipe.num_classes, dtype=images.dtype)
    if settings.mixup:
        return mixup(key, images, targets, settings.mixup, mask)
    return cutmix(key, images, targets, settings.cutmix, mask)


def make_train_step(recipe: Recipe) -> TrainStep:
    """The pure training step of `recipe`.

    The step takes a batch `{"image": [n h w c], "label": int [n], "mask": bool [n]}` in which rows whose mask is
    False are padding: they change neither loss, nor gradient, nor batch statistics. It returns the new state
    and, as scalars, `loss` (the objective: with penalties and smoothing), `loss_sum` and `correct` and `count`
    (to be added up over an epoch), `gradient_norm` and `learning_rate`.
    """

    def train_step(train_state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        augment_key, mix_key, model_key = jax.random.split(
            jax.random.fold_in(train_state.key, train_state.step), 3
        )
        mask, labels = jnp.asarray(batch["mask"]), jnp.asarray(batch["label"])
        images = prepared(jnp.asarray(batch["image"]), recipe, augment_key)
        images, targets = mixed(images, labels, mask, recipe, mix_key)

        def objective(params: Parameters) -> tuple[Float[Array, ""], tuple]:
            logits, state = recipe.apply(
                params, train_state.state, images, train=True, key=model_key, mask=mask
            )
            data_loss = ops.cross_entropy(
                logits,
                targets,
                label_smoothing=recipe.loss.label_smoothing,
                class_weights=recipe.class_weights,
                mask=mask,
            )
            return data_loss + penalty(params, recipe.loss), (data_loss, logits, state)

        gradient, (data_loss, logits, state) = jax.grad(objective, has_aux=True)(train_state.params)
        updates, opt_state = recipe.optimiser.update(gradient, train_state.opt_state, train_state.params)
        params = optax.apply_updates(train_state.params, updates)
        count = jnp.sum(mask, dtype=jnp.int32)
        average = train_state.ema
        if average is not None:
            average = ema.update(average, averaged(params, state), recipe.ema_decay, train_state.step)
        predictions = jnp.argmax(logits, axis=-1).astype(labels.dtype)
        metrics = {
            "loss": data_loss + penalty(train_state.params, recipe.loss),
            "loss_sum": data_loss * count.astype(data_loss.dtype),
            "correct": jnp.sum((predictions == labels) & mask, dtype=jnp.int32),
            "count": count,
            "gradient_norm": optim.global_norm(gradient),
            "learning_rate": jnp.asarray(recipe.schedule(train_state.step)),
        }
        return TrainState(params, state, opt_state, average, train_state.key, train_state.step + 1), metrics

    return train_step


def penalty(params: Parameters, loss: LossConfig) -> Float[Array, ""]:
    """`l1 * sum |w| + l2 * sum w^2` over all parameters; exactly zero where both are off."""
    total = jnp.zeros((), next(iter(params.values())).dtype)
    if loss.l1:
        total = total + loss.l1 * ops.l1_penalty(params)
    if loss.l2:
        total = total + loss.l2 * ops.l2_penalty(params)
    return total
