"""The sides of the comparison: each runs a training step, a forward pass and an evaluation of one workload."""

import copy
import time
from collections.abc import Callable
from typing import Any, Protocol

from experiments.performance.throughput.accelerator import settle_jax, settle_torch
from experiments.performance.throughput.networks import Workload

# Learning rate, momentum, weight decay: SGD with Nesterov's momentum on all sides.
_RATE, _MOMENTUM, _DECAY = 0.01, 0.9, 5e-4


class Side(Protocol):
    """One way to compute a workload; every call waits for its result."""

    def step(self) -> float:
        """A training step: forward, backward, update. Returns the loss before the update."""

    def forward(self) -> None:
        """The forward pass as in training, without a gradient."""

    def evaluate(self) -> None:
        """The logits in evaluation, batch norms folded into convolutions."""


class Flaxcnn:
    """`flaxcnn`'s training step; with `rules`, only those fast rules."""

    def __init__(self, workload: Workload, rules: tuple[str, ...] | None = None) -> None:
        import jax
        import jax.numpy as jnp

        from flaxcnn import models, optim
        from flaxcnn.config import AugmentConfig, LossConfig
        from flaxcnn.functional import functional
        from flaxcnn.models.folding import fold_batch_norms
        from flaxcnn.ops.cpu.choice import RULES, USUAL, fast_rules
        from flaxcnn.train import state as train_states
        from flaxcnn.train.compiling import Compiled
        from flaxcnn.train.evaluate import make_predict
        from flaxcnn.train.step import Recipe, make_train_step

        settle_jax(workload)
        options: dict[str, Any] = {"stem": "cifar"} if workload.network in ("resnet18", "resnet34") else {}
        if workload.network == "cnn":
            options = {"image_size": workload.size}
        model = models.create(workload.network, num_classes=10, in_channels=workload.channels, **options)
        parts, folded = functional(model), functional(fold_batch_norms(model))

        def predict(*arguments: Any, **options: Any) -> Any:
            with fast_rules(*(USUAL if rules is None else rules)):
                return folded.apply(*arguments, **options)

        schedule = optim.schedule("constant", _RATE, 1)
        optimiser = optim.optimiser("sgd", schedule, momentum=_MOMENTUM, nesterov=True, weight_decay=_DECAY)
        mean, std = jnp.zeros(workload.channels), jnp.ones(workload.channels)
        recipe = Recipe(
            parts.apply,
            optimiser,
            schedule,
            10,
            mean,
            std,
            augment=AugmentConfig(rotate=0.0),
            loss=LossConfig(label_smoothing=0.0),
        )
        images, labels = workload.batch_of()
        self._batch = jax.device_put({"image": images, "label": labels, "mask": jnp.ones(len(labels), bool)})
        self._state = train_states.create(parts.params, parts.state, optimiser, seed=0, use_ema=False)
        # As `flaxcnn train` compiles them.
        self._step = Compiled(make_train_step(recipe), donate=(0,), rules=RULES if rules is None else rules)
        self._forward = Compiled(
            lambda params, state, x: parts.apply(params, state, x, train=True, key=jax.random.key(0)),
            rules=USUAL if rules is None else rules,
        )
        self._predict = make_predict(predict, mean, std)
        self._parts, self._folded, self._block = parts, folded, jax.block_until_ready

    def step(self) -> float:
        """See `Side`."""
        self._state, metrics = self._step(self._state, self._batch)
        return float(metrics["loss"])

    def forward(self) -> None:
        """See `Side`."""
        self._block(self._forward(self._parts.params, self._parts.state, self._batch["image"]))

    def evaluate(self) -> None:
        """See `Side`."""
        self._block(self._predict(self._folded.params, self._folded.state, self._batch["image"]))

    def compiled_step(self) -> str:
        """The compiled training step, as HLO."""
        return self._step.compiled_text(self._state, self._batch)


class DefaultFlax:
    """Flax's own layers and optax, compiled by `jax.jit`; with `option`, XLA's YNNPACK fusions are off."""

    def __init__(self, workload: Workload, option: bool) -> None:
        import jax
        import optax

        from experiments.performance.throughput.default_flax import logits, parts
        from flaxcnn.train.compiling import compiler_options

        settle_jax(workload)
        graph, params, rest = parts(workload.network, workload.size)
        optimiser = optax.chain(
            optax.add_decayed_weights(_DECAY), optax.sgd(_RATE, momentum=_MOMENTUM, nesterov=True)
        )

        def step(params: Any, rest: Any, opt_state: Any, images: Any, labels: Any) -> tuple[Any, ...]:
            def objective(params: Any) -> tuple[Any, Any]:
                out, new = logits(graph, params, rest, images, train=True)
                return optax.softmax_cross_entropy_with_integer_labels(out, labels).mean(), new

            (loss, new), gradient = jax.value_and_grad(objective, has_aux=True)(params)
            updates, opt_state = optimiser.update(gradient, opt_state, params)
            return optax.apply_updates(params, updates), new, opt_state, loss

        options = compiler_options() if option else None
        self._step = jax.jit(step, donate_argnums=(0, 1, 2), compiler_options=options)
        self._forward, self._predict = (
            jax.jit(
                lambda p, r, x, train=train: logits(graph, p, r, x, train=train), compiler_options=options
            )
            for train in (True, False)
        )
        self._batch = tuple(map(jax.device_put, workload.batch_of()))
        self._fixed = jax.tree.map(jax.numpy.copy, (params, rest))
        self._state = params, rest, optimiser.init(params)
        self._block = jax.block_until_ready

    def step(self) -> float:
        """See `Side`."""
        *state, loss = self._step(*self._state, *self._batch)
        self._state = tuple(state)
        return float(loss)

    def forward(self) -> None:
        """See `Side`."""
        self._block(self._forward(*self._fixed, self._batch[0]))

    def evaluate(self) -> None:
        """See `Side`; Flax has no folding."""
        self._block(self._predict(*self._fixed, self._batch[0]))


class Torch:
    """PyTorch in channels-last layout, eager or compiled."""

    def __init__(self, workload: Workload, compiled: bool) -> None:
        import torch
        from torch.fx.experimental.optimization import fuse

        device = settle_torch(workload)
        model = torch_model(workload).to(device, memory_format=torch.channels_last)
        normed = any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
        fused = fuse(model.eval()) if normed else copy.deepcopy(model).eval()
        fused = fused.to(memory_format=torch.channels_last)
        model.train()
        wrap: Callable[..., Any] = torch.compile if compiled else lambda f: f
        self._model, self._train, self._fused = model, wrap(model), wrap(fused)
        self._optimiser = torch.optim.SGD(
            model.parameters(), _RATE, momentum=_MOMENTUM, weight_decay=_DECAY, nesterov=True
        )
        images, labels = workload.batch_of()
        nchw = torch.tensor(images).permute(0, 3, 1, 2)
        self._images = nchw.to(device).contiguous(memory_format=torch.channels_last)
        self._labels, self._torch = torch.tensor(labels).long().to(device), torch
        self._wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    def step(self) -> float:
        """See `Side`."""
        self._optimiser.zero_grad(set_to_none=True)
        loss = self._torch.nn.functional.cross_entropy(self._train(self._images), self._labels)
        loss.backward()
        self._optimiser.step()
        return float(loss.detach())

    def forward(self) -> None:
        """See `Side`."""
        with self._torch.no_grad():
            self._train(self._images)
        self._wait()

    def evaluate(self) -> None:
        """See `Side`."""
        with self._torch.inference_mode():
            self._fused(self._images)
        self._wait()


def torch_model(workload: Workload) -> Any:
    """The network by torchvision, with the stem for small images where it is not ResNet-50; the CNN by its twin."""
    import torch
    import torchvision

    from parity.suites.models.twins import CNN

    if workload.network == "cnn":
        return CNN(image_size=(workload.size, workload.size))
    model = getattr(torchvision.models, workload.network)(num_classes=10)
    if workload.network != "resnet50":
        model.conv1 = torch.nn.Conv2d(3, 64, 3, padding=1, bias=False)
        model.maxpool = torch.nn.Identity()
    return model


FLAXCNN, REFERENCE, OPTION, DEFAULT = "flaxcnn", "torch.compile", "Flax, option", "Flax, default"
EAGER, PLAIN, REFERENCE_HUGE = "torch, eager", "flaxcnn, plain rules", "torch.compile, huge pages"
SIDES: dict[str, Callable[[Workload], Side]] = {
    FLAXCNN: Flaxcnn,
    PLAIN: lambda workload: Flaxcnn(workload, ()),
    OPTION: lambda workload: DefaultFlax(workload, option=True),
    DEFAULT: lambda workload: DefaultFlax(workload, option=False),
    REFERENCE: lambda workload: Torch(workload, compiled=True),
    REFERENCE_HUGE: lambda workload: Torch(workload, compiled=True),
    EAGER: lambda workload: Torch(workload, compiled=False),
}
# The processes of these sides run with huge pages: flaxcnn's, since `flaxcnn train` has them
# (`flaxcnn.cli.huge_pages`), and one of the reference, to show its gain.
WITH_HUGE_PAGES = (FLAXCNN, PLAIN, REFERENCE_HUGE)


def seconds_of(call: Callable[[], Any], times: int) -> float:
    """Seconds per call, over `times` calls in a row after one that is not timed.

    During the turns of other sides caches went cold and the system took back freed memory. In training every step
    follows another step, so the first call is not representative.
    """
    call()
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times
