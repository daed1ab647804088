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
from flaxcnn.functional import Apply, Parameters, State
from flaxcnn.train import ema
from flaxcnn.train.mix import cutmix, mixup
from flaxcnn.train.state import TrainState, averaged
from flaxcnn.transfer.plan import divided

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
        ema_decay: of the moving average of the weights, which warms up to it; 0 is off.
        frozen: parameters that are not differentiated, and statistics that `apply` does not change, by name.
        accumulate: number of parts in which the gradient of a batch is computed; it divides the size of a batch.
        teaching: `(loss, logits, state, params, images, mask) -> (loss, state)`, what a teacher makes of the loss of a
            batch; what `apply` adds to the state for it is taken out again.
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
    accumulate: int = 1
    frozen: frozenset[str] = frozenset()
    teaching: Callable[..., tuple[Float[Array, ""], State]] | None = None


# Mixup and cutmix mix labels too, and boxes are erased after the normalisation; `augment` makes all others.
_AUGMENTATIONS = sorted(
    {field.name for field in dataclasses.fields(AugmentConfig)} - {"mixup", "cutmix", "erasing"}
)
# Beyond the numbers that `augment` folds its key with.
_ERASING = 100


def prepared(
    images: UInt8[Array, "n h w c"] | Float[Array, "n h w c"], recipe: Recipe, key: Key[Array, ""] | None
) -> Float[Array, "n height width c"]:
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

        gradient, (data_loss, logits, state) = gradient_of(
            recipe, train_state, images, targets, mask, model_key
        )
        trained, kept = divided(train_state.params, recipe.frozen)
        updates, opt_state = recipe.optimiser.update(gradient, train_state.opt_state, trained)
        params = optax.apply_updates(trained, updates) | kept
        count = jnp.sum(mask, dtype=jnp.int32)
        average = train_state.ema
        if average is not None:
            now = averaged(params, state, recipe.frozen)
            average = ema.update(average, now, recipe.ema_decay, train_state.step, warm_up=True)
        predictions = jnp.argmax(logits, axis=-1).astype(labels.dtype)
        metrics = {
            "loss": data_loss + penalty(trained, recipe.loss),
            "loss_sum": data_loss * count.astype(data_loss.dtype),
            "correct": jnp.sum((predictions == labels) & mask, dtype=jnp.int32),
            "count": count,
            "gradient_norm": optim.global_norm(gradient),
            "learning_rate": jnp.asarray(recipe.schedule(train_state.step)),
        }
        return TrainState(params, state, opt_state, average, train_state.key, train_state.step + 1), metrics

    return train_step


Targets = Int[Array, " n"] | Float[Array, "n k"]
Weight = Int[Array, ""] | Float[Array, ""]
Gradient = tuple[Parameters, tuple[Float[Array, ""], Float[Array, "n k"], State]]


def gradient_of(
    recipe: Recipe,
    train_state: TrainState,
    images: Float[Array, "n h w c"],
    targets: Targets,
    mask: Bool[Array, " n"],
    key: Key[Array, ""],
) -> Gradient:
    """The gradient of the objective, with the mean loss of the rows, their logits and the model's new state.

    What is frozen is no argument of the function that is differentiated, so that nothing is computed for it.
    """
    trained, kept = divided(train_state.params, recipe.frozen)
    if recipe.accumulate == 1:
        return jax.grad(_objective, has_aux=True)(
            trained, kept, recipe, train_state.state, images, targets, mask, key, None
        )
    parts = jax.tree.map(
        lambda array: array.reshape(recipe.accumulate, -1, *array.shape[1:]), (images, targets, mask)
    )
    total = _weight(recipe, targets, mask)

    def add(so_far: tuple, part: tuple) -> tuple[tuple, Float[Array, "n k"]]:
        gradient, loss, state = so_far
        number, (x, y, valid) = part
        more, (part_loss, logits, new_state) = jax.grad(_objective, has_aux=True)(
            trained, kept, recipe, state, x, y, valid, jax.random.fold_in(key, number), total
        )
        # A part of padding only leaves the running statistics as they are.
        state = jax.tree.map(lambda new, old: jnp.where(jnp.any(valid), new, old), new_state, state)
        return (jax.tree.map(jnp.add, gradient, more), loss + part_loss, state), logits

    start = jax.tree.map(jnp.zeros_like, trained)
    dtype = next(iter(trained.values())).dtype
    (gradient, loss, state), logits = jax.lax.scan(
        add,
        (start, jnp.zeros((), dtype), train_state.state),
        (jnp.arange(recipe.accumulate), parts),
    )
    # The penalty is of the weights and not of the rows: it counts once.
    of_penalty = jax.grad(penalty)(trained, recipe.loss)
    gradient = jax.tree.map(jnp.add, gradient, of_penalty)
    return gradient, (loss, logits.reshape(mask.shape[0], -1), state)


def _objective(
    trained: Parameters,
    kept: Parameters,
    recipe: Recipe,
    state: State,
    images: Float[Array, "n h w c"],
    targets: Targets,
    mask: Bool[Array, " n"],
    key: Key[Array, ""],
    total: Weight | None,
) -> tuple[Float[Array, ""], tuple]:
    """The objective of a batch; of a part of a batch whose rows weigh `total`, its share, without the penalty."""
    logits, state = recipe.apply(trained | kept, state, images, train=True, key=key, mask=mask)
    loss = ops.cross_entropy(
        logits,
        targets,
        label_smoothing=recipe.loss.label_smoothing,
        class_weights=recipe.class_weights,
        mask=mask,
    )
    if recipe.teaching is not None:
        loss, state = recipe.teaching(loss, logits, state, trained | kept, images, mask)
    if total is None:
        return loss + penalty(trained, recipe.loss), (loss, logits, state)
    part = _weight(recipe, targets, mask)
    share = part.astype(loss.dtype) / jnp.where(total > 0, total, jnp.ones_like(total)).astype(loss.dtype)
    loss = jnp.where(jnp.any(mask), loss * share, jnp.zeros_like(loss))
    return loss, (loss, logits, state)


def _weight(recipe: Recipe, targets: Targets, mask: Bool[Array, " n"]) -> Weight:
    """What the mean loss of rows is divided by: the number of those that count, or the weights of their classes."""
    if recipe.class_weights is None or targets.ndim == 2:
        return jnp.sum(mask, dtype=jnp.int32)
    weights = recipe.class_weights[targets]
    return jnp.sum(jnp.where(mask, weights, jnp.zeros_like(weights)))


def penalty(params: Parameters, loss: LossConfig) -> Float[Array, ""]:
    """`l1 * sum |w| + l2 * sum w^2` over the trained parameters; exactly zero where both are off."""
    total = jnp.zeros((), next(iter(params.values())).dtype)
    if loss.l1:
        total = total + loss.l1 * ops.l1_penalty(params)
    if loss.l2:
        total = total + loss.l2 * ops.l2_penalty(params)
    return total
