"""Defects of the optimiser's step and of the statistics before the first step, each planted in a short training."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import optax

from experiments.instrument.defects import pieces as p
from experiments.instrument.defects.graph import Builder, Graph, rewrite
from experiments.instrument.defects.hosts import CLASSES
from flaxcnn import optim

STEPS, ROWS = 6, 8
_RATE, _DECAY = 0.1, 5e-2


@dataclasses.dataclass(frozen=True)
class TrainingPlant:
    """A planted defect of training.

    Attributes:
        id: its id in the catalogue.
        severity: in words.
        path: the optimiser's name, or the layer.
        torch: makes PyTorch's optimiser (and scheduler) from a list of parameters.
        flax: makes the optax transformation.
        locations: the exact locations, see `plants.Plant`; "update" for the optimiser's step.
        clip_norm: the norm to which PyTorch's gradient is clipped.
        touched: the number added to the running means of the Flax side before the first step.
    """

    id: str
    severity: str
    path: str
    torch: Callable[[list[Any]], Any]
    flax: Callable[[], Any]
    locations: tuple[str, ...] = ("update",)
    clip_norm: float | None = None
    touched: float = 0.0

    def graphs(self) -> tuple[Graph, Graph]:
        """The graphs of the PyTorch side and of the Flax side."""
        graph = trainee()
        if not self.touched:
            return graph, graph
        return graph, rewrite(graph, "bn1", lambda node: [node.changed(touched=self.touched)])


def trainee() -> Graph:
    """The trained network: two convolutions with batch norm and a dense layer; images [n, 3, 8, 8]."""
    b = Builder()
    p.conv(b, "conv1", 3, 4)
    p.batch_norm(b, "bn1", 4)
    b.act("relu")
    p.conv(b, "conv2", 4, 6, stride=2, bias=True)
    p.batch_norm(b, "bn2", 6)
    b.act("relu")
    b.add("mean")
    p.linear(b, "fc", 6, CLASSES)
    return b.graph()


def stream(seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """The batches."""
    generator = np.random.default_rng((seed, 7))
    return [
        (generator.standard_normal((ROWS, 3, 8, 8)).astype(np.float32), generator.integers(0, CLASSES, ROWS))
        for _ in range(STEPS)
    ]


def _torch(kind: str, rate: float = _RATE, **options: Any) -> Callable[[list[Any]], Any]:
    def make(parameters: list[Any]) -> Any:
        import torch

        return getattr(torch.optim, kind)(parameters, lr=rate, foreach=False, **options)

    return make


def _cosine(parameters: list[Any]) -> tuple[Any, Any]:
    import torch

    optimiser = torch.optim.SGD(parameters, lr=_RATE, momentum=0.9, foreach=False)
    return optimiser, torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, STEPS)


def _one_cycle(parameters: list[Any]) -> tuple[Any, Any]:
    """The rate and the momentum move against each other."""
    import torch

    optimiser = torch.optim.SGD(parameters, lr=_RATE, momentum=0.9, foreach=False)
    return optimiser, torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, total_steps=STEPS + 1)


def _flaxcnn(kind: str, rate: Any = _RATE, **options: Any) -> Callable[[], Any]:
    return lambda: optim.optimiser(kind, rate, **options)


def _chain(*parts: Any, rate: float = _RATE) -> Callable[[], Any]:
    return lambda: optax.chain(*parts, optax.scale_by_learning_rate(rate))


def _matrices(params: Any) -> Any:
    return {name: value.ndim > 1 for name, value in params.items()}


def _vectors(params: Any) -> Any:
    return {name: value.ndim <= 1 for name, value in params.items()}


def _of_sgd() -> list[TrainingPlant]:
    momentum, decayed = _torch("SGD", momentum=0.9), _torch("SGD", momentum=0.9, weight_decay=_DECAY)
    schedule = optim.schedule("cosine", _RATE, STEPS)
    rows: list[tuple[Any, ...]] = [
        ("momentum-form", "momentum 0.901", momentum, _flaxcnn("sgd", momentum=0.901)),
        ("momentum-form", "momentum 0.99", momentum, _flaxcnn("sgd", momentum=0.99)),
        ("momentum-form", "Nesterov", momentum, _flaxcnn("sgd", momentum=0.9, nesterov=True)),
        (
            "momentum-form",
            "first gradient dampened",
            _torch("SGD", momentum=0.9, dampening=0.9),
            _chain(optax.ema(0.9, debias=False)),
        ),
        (
            "momentum-form",
            "rate inside the momentum",
            _cosine,
            lambda: optax.chain(optax.scale_by_schedule(schedule), optax.trace(0.9), optax.scale(-1.0)),
        ),
        ("sgd-decay-coupling", "decay after it", decayed, _decoupled(_DECAY)),
        (
            "sgd-decay-coupling",
            "small decay after it",
            _torch("SGD", momentum=0.9, weight_decay=1e-4),
            _decoupled(1e-4),
        ),
        ("decay-mask", "biases and norms left out", decayed, _masked(_matrices)),
        ("decay-mask", "only biases and norms", decayed, _masked(_vectors)),
        (
            "schedule-off-by-one",
            "read after",
            _cosine,
            _flaxcnn("sgd", lambda t: schedule(t + 1), momentum=0.9),
        ),
        (
            "schedule-off-by-one",
            "t / (T - 1)",
            _cosine,
            _flaxcnn("sgd", optim.schedule("cosine", _RATE, STEPS - 1), momentum=0.9),
        ),
        *(
            (
                "momentum-cycled",
                f"OneCycleLR, momentum {momentum_of_flax:g}",
                _one_cycle,
                _flaxcnn("sgd", optim.schedule("one_cycle", _RATE, STEPS + 1), momentum=momentum_of_flax),
            )
            for momentum_of_flax in (0.9, 0.95)
        ),
        *(
            ("learning-rate-scale", f"times {by:g}", momentum, _flaxcnn("sgd", by * _RATE, momentum=0.9))
            for by in (0.999, 0.125, 8.0)
        ),
    ]
    plants = [TrainingPlant(id, severity, "sgd", torch, flax) for id, severity, torch, flax in rows]
    for norm in (0.05, 1e-3):
        flax = _chain(optax.clip_by_global_norm(norm), optax.trace(0.9))
        plants.append(TrainingPlant("clip-epsilon", f"norm {norm:g}", "sgd", momentum, flax, clip_norm=norm))
    return plants


def _decoupled(decay: float) -> Callable[[], Any]:
    return _chain(optax.trace(0.9), optax.add_decayed_weights(decay))


def _masked(mask: Callable[[Any], Any]) -> Callable[[], Any]:
    return _chain(optax.add_decayed_weights(_DECAY, mask=mask), optax.trace(0.9))


def _of_others() -> list[TrainingPlant]:
    rate = 1e-2
    adam, plain = _torch("Adam", rate, weight_decay=_DECAY), _torch("Adam", rate)

    def root(epsilon: float) -> Callable[[], Any]:
        return _chain(optax.scale_by_adam(eps=0.0, eps_root=epsilon), rate=rate)

    rows: list[tuple[Any, ...]] = [
        ("adam-decay-coupling", "AdamW", "adam", adam, lambda: optax.adamw(rate, weight_decay=_DECAY)),
        ("adam-decay-coupling", "decay 1e-4", "adamw", _torch("AdamW", rate), lambda: optax.adamw(rate)),
        ("adam-epsilon-placement", "1e-8 under the root", "adam", plain, root(1e-8)),
        ("adam-epsilon-placement", "1e-16 under the root", "adam", plain, root(1e-16)),
        (
            "rmsprop-epsilon-placement",
            "optax",
            "rmsprop",
            _torch("RMSprop", rate),
            lambda: optax.rmsprop(rate),
        ),
        (
            "rmsprop-epsilon-placement",
            "epsilon alone",
            "rmsprop",
            _torch("RMSprop", rate),
            lambda: optax.rmsprop(rate, decay=0.99),
        ),
        ("momentum-cycled", "NAdam", "nadam", _torch("NAdam", rate), lambda: optax.nadam(rate)),
        ("adagrad-epsilon", "optax", "adagrad", _torch("Adagrad", rate), lambda: optax.adagrad(rate)),
        (
            "adagrad-epsilon",
            "epsilon alone",
            "adagrad",
            _torch("Adagrad", rate),
            lambda: optax.adagrad(rate, initial_accumulator_value=0.0),
        ),
    ]
    return [TrainingPlant(*row) for row in rows]


def _touched() -> list[TrainingPlant]:
    return [
        TrainingPlant(
            "bn-stats-touched-at-init",
            f"moved by {by:g}",
            "bn1",
            _torch("SGD", momentum=0.9),
            _flaxcnn("sgd", momentum=0.9),
            ("bn1",),
            touched=by,
        )
        for by in (1e-4, 0.1)
    ]


TRAININGS: tuple[TrainingPlant, ...] = (*_of_sgd(), *_of_others(), *_touched())


def training_of(id: str, severity: str) -> TrainingPlant:
    """The plant of a mutant."""
    return next(plant for plant in TRAININGS if (plant.id, plant.severity) == (id, severity))
