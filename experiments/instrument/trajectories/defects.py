"""Every defect of the channels S (state) and O (optimiser), each planted in a training of the small host."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import optax
import torch
from flax import nnx

from experiments.instrument.trajectories.hosts import FlaxHost, TorchHost, torch_norm
from flaxcnn import optim
from flaxcnn.models import layers
from parity.trajectory.record import Trajectory
from parity.trajectory.stream import from_data
from parity.trajectory.train import Training, train

STEPS, BATCH = 12, 32


@dataclasses.dataclass(frozen=True)
class Defect:
    """One planted defect.

    Attributes:
        id: its id in the catalogue.
        planted: the defect in words.
        step: the first step that must differ.
        torch, flax: the optimisers.
        norm: makes the batch norm of the Flax side.
        clip_norm: the norm to which PyTorch's gradient is clipped.
    """

    id: str
    planted: str
    step: int
    torch: Callable[[list[Any]], Any]
    flax: Any
    norm: Callable[[int], nnx.Module] = torch_norm
    clip_norm: float | None = None


class _Forgetful(layers.BatchNorm):
    """Computes with batch statistics and leaves the running statistics unchanged."""

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        before = self.running_mean[...], self.running_var[...], self.num_batches_tracked[...]
        y = super().__call__(x, train=train)
        self.running_mean[...], self.running_var[...], self.num_batches_tracked[...] = before
        return y


class _Frozen(layers.BatchNorm):
    """Uses the running averages in training too."""

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return super().__call__(x, train=False)


def _touched(channels: int) -> nnx.Module:
    norm = layers.BatchNorm(channels)
    norm.running_mean[...] = norm.running_mean[...] + 0.1
    return norm


def _flax_default(channels: int) -> nnx.Module:
    # Flax's own layer keeps the biased variance; its momentum is set to PyTorch's 0.1.
    return nnx.BatchNorm(channels, momentum=0.9, epsilon=1e-5, rngs=nnx.Rngs(0))


def _sgd(**options: Any) -> Callable[[list[Any]], Any]:
    return lambda parameters: torch.optim.SGD(parameters, lr=0.1, foreach=False, **options)


def _cosine(parameters: list[Any]) -> tuple[Any, Any]:
    optimiser = torch.optim.SGD(parameters, lr=0.1, momentum=0.9, foreach=False)
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)


def _plain() -> Any:
    return optim.optimiser("sgd", 0.1, momentum=0.9)


def _inside(momentum: float, schedule: Callable[[Any], Any]) -> Any:
    """v = momentum v + rate g, p' = p - v: the learning rate before the momentum."""
    return optax.chain(optax.scale_by_schedule(schedule), optax.trace(momentum), optax.scale(-1.0))


def defects() -> list[Defect]:
    """All defects."""
    cosine = optim.schedule("cosine", 0.1, STEPS)
    decay = 5e-2
    decoupled = optax.chain(
        optax.trace(0.9), optax.add_decayed_weights(decay), optax.scale_by_learning_rate(0.1)
    )
    return [*_state_defects(), *_momentum_defects(cosine), *_other_defects(cosine, decay, decoupled)]


def _state_defects() -> list[Defect]:
    sgd = _sgd(momentum=0.9)
    rows = [
        (
            "bn-momentum-complement",
            "momentum 0.9 for the new statistic",
            0,
            lambda c: torch_norm(c, momentum=0.9),
        ),
        ("bn-running-var-bias", "Flax's own layer: biased variance", 0, _flax_default),
        ("bn-stats-touched-at-init", "statistics moved before the first step", 0, _touched),
        ("bn-stats-not-written-back", "running statistics never change", 0, _Forgetful),
        ("bn-mode", "running averages used in training", 0, _Frozen),
    ]
    return [Defect(id, planted, step, sgd, _plain(), norm) for id, planted, step, norm in rows]


def _momentum_defects(cosine: Any) -> list[Defect]:
    sgd = _sgd(momentum=0.9)
    dampened = optax.chain(optax.ema(0.9, debias=False), optax.scale_by_learning_rate(0.1))
    nesterov = optim.optimiser("sgd", 0.1, momentum=0.9, nesterov=True)
    return [
        Defect(
            "momentum-form", "the first gradient dampened too", 0, _sgd(momentum=0.9, dampening=0.9), dampened
        ),
        Defect("momentum-form", "Nesterov", 0, sgd, nesterov),
        Defect("momentum-form", "momentum 0.99", 1, sgd, optim.optimiser("sgd", 0.1, momentum=0.99)),
        Defect("momentum-form", "learning rate inside the momentum", 1, _cosine, _inside(0.9, cosine)),
    ]


def _other_defects(cosine: Any, decay: float, decoupled: Any) -> list[Defect]:
    def adam(kind: str, **options: Any) -> Callable[[list[Any]], Any]:
        return lambda parameters: getattr(torch.optim, kind)(parameters, lr=1e-2, foreach=False, **options)

    def late(schedule: Any) -> Any:
        return optim.optimiser("sgd", lambda count: schedule(count + 1), momentum=0.9)

    masked = optim.optimiser(
        "sgd", 0.1, momentum=0.9, weight_decay=decay, decay_mask=optim.no_decay_on_norm_and_bias
    )
    clipped = optax.chain(
        optax.clip_by_global_norm(0.05), optax.trace(0.9), optax.scale_by_learning_rate(0.1)
    )
    under_root = optax.chain(optax.scale_by_adam(eps=0.0, eps_root=1e-8), optax.scale_by_learning_rate(1e-2))
    coupled = _sgd(momentum=0.9, weight_decay=decay)
    shorter = optim.optimiser("sgd", optim.schedule("cosine", 0.1, STEPS - 1), momentum=0.9)
    return [
        Defect("sgd-decay-coupling", "decay after the momentum", 1, coupled, decoupled),
        Defect("decay-mask", "biases and norms not decayed", 0, coupled, masked),
        Defect(
            "adam-decay-coupling",
            "AdamW for Adam with L2",
            0,
            adam("Adam", weight_decay=decay),
            optax.adamw(1e-2, weight_decay=decay),
        ),
        Defect(
            "adam-decay-coupling", "optax.adamw's decay of 1e-4 for 1e-2", 0, adam("AdamW"), optax.adamw(1e-2)
        ),
        Defect("adam-epsilon-placement", "epsilon under the root", 0, adam("Adam"), under_root),
        Defect(
            "rmsprop-epsilon-placement", "optax.rmsprop's defaults", 0, adam("RMSprop"), optax.rmsprop(1e-2)
        ),
        Defect("adagrad-epsilon", "optax.adagrad's defaults", 0, adam("Adagrad"), optax.adagrad(1e-2)),
        Defect("clip-epsilon", "clipped without the 1e-6", 0, _sgd(momentum=0.9), clipped, clip_norm=0.05),
        Defect("schedule-off-by-one", "the count is read after the increment", 0, _cosine, late(cosine)),
        Defect("schedule-off-by-one", "t / (T - 1) for t / T", 1, _cosine, shorter),
        Defect(
            "learning-rate-scale",
            "a tenth of the rate",
            0,
            _sgd(momentum=0.9),
            optim.optimiser("sgd", 0.01, momentum=0.9),
        ),
    ]


def run(defect: Defect) -> Trajectory:
    """Train both sides with the defect planted."""
    torch.manual_seed(0)
    training = Training(defect.torch, defect.flax, label_smoothing=0.1, clip_norm=defect.clip_norm)
    stream = from_data("digits", BATCH, 0)
    return train(TorchHost(), FlaxHost(defect.norm), stream, training, steps=STEPS)


def sound() -> Trajectory:
    """Train both sides without a defect."""
    return run(Defect("", "nothing", 0, _sgd(momentum=0.9), _plain()))
