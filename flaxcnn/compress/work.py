"""What the steps of a recipe hand on, and the training between them."""

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float
from rich.console import Console

from flaxcnn import data, ops
from flaxcnn.compress.prune import pruned, sparsity_at
from flaxcnn.compress.recipe import Distil, Prune, Training
from flaxcnn.compress.teaching import taught, untaught
from flaxcnn.config import Config
from flaxcnn.functional import Functional, Parameters, State
from flaxcnn.models.resized import Architecture
from flaxcnn.optim.masking import MaskedState, masked, masks_of
from flaxcnn.train import state as train_states
from flaxcnn.train.interrupts import StopRequest
from flaxcnn.train.loading import Loaded
from flaxcnn.train.loop import Trainer
from flaxcnn.train.position import Position
from flaxcnn.train.progress import ProgressDisplay
from flaxcnn.train.run_folder import RunFolder
from flaxcnn.train.setup import Job, model_of, pure, set_up
from flaxcnn.train.state import TrainState
from flaxcnn.train.trained import load_run
from flaxcnn.train.updates import optimiser_of


@dataclasses.dataclass(frozen=True)
class Work:
    """A network between two steps.

    Attributes:
        config: of the run, or of the last training since.
        loaded: its data.
        architecture: its shapes; None where it is as the registry builds it.
        params, state: its weights.
        rate: the learning rate that the run began with.
        position: where the run, or the last training since, stands.
        history: its epochs.
        train_state: of the last training, if no step came after it.
    """

    config: Config
    loaded: Loaded
    architecture: Architecture | None
    params: Parameters
    state: State
    rate: float
    position: Position
    history: list[dict[str, Any]]
    train_state: TrainState | None = None

    def changed(self, params: Parameters, **others: Any) -> "Work":
        """With other weights, which no optimiser knows of."""
        return dataclasses.replace(self, params=params, train_state=None, **others)

    def model(self) -> nnx.Module:
        """The network as a module, whose weights are new."""
        return model_of(self.config, self.loaded.splits.info, self.architecture)

    def known_architecture(self) -> Architecture:
        """Its shapes, also where they are those of the registry."""
        if self.architecture is not None:
            return self.architecture
        return Architecture({name: tuple(value.shape) for name, value in (self.params | self.state).items()})

    def initial(self) -> Functional:
        """The network as a pure function, with new weights."""
        return pure(self.config, self.model())

    def pure(self) -> Functional:
        """The network as a pure function, with its weights."""
        return self.initial()._replace(params=self.params, state=self.state)

    def final_state(self) -> TrainState:
        """What a checkpoint holds: the state after the last training, or a new one with these weights."""
        if self.train_state is not None:
            return self.train_state
        steps = self.history[-1]["step"] if self.history else 0
        fresh = self._fresh(optimiser_of(self.config.optimiser, lambda step: step * 0.0))
        return fresh._replace(step=jnp.asarray(steps, jnp.int32))

    def _fresh(self, optimiser: Any) -> TrainState:
        return train_states.create(
            self.params,
            self.state,
            optimiser,
            seed=self.config.run.seed,
            use_ema=self.config.optimiser.ema_decay > 0,
        )

    def job(self, options: Training | Prune | None = None) -> Job:
        """A training of this network from here."""
        config = self.config
        if options is not None:
            rate = self.rate / 10 if options.learning_rate is None else options.learning_rate
            config = config.replace(
                epochs=options.epochs,
                learning_rate=rate,
                warmup_epochs=0.0,
                early_stopping=0,
                tensorboard=False,
                pictures=False,
            )
        job = set_up(config, self.loaded, architecture=self.architecture)
        return dataclasses.replace(job, train_state=self._fresh(job.recipe.optimiser))

    def trained(
        self, options: Training | Prune, console: Console, stop: StopRequest, passing: Path
    ) -> "Work":
        """Train; with the options of a pruning, the share of zeros rises before each epoch.

        Args:
            options: of the step.
            console: where progress is printed.
            stop: by which it may be asked to stop.
            passing: the run folder of this training, new, or of one that was interrupted, which goes on.
        """
        job = self.job(options)
        if isinstance(options, Distil):
            job = taught(
                job,
                load_run(options.teacher),
                options.temperature,
                options.weight,
                options.hints,
                options.hint_weight,
            )
        begun = (passing / "config.json").exists()
        if not begun:  # a process may have been killed before it was written
            shutil.rmtree(passing, ignore_errors=True)
        folder = RunFolder.open(passing) if begun else RunFolder.create(passing, job.config)
        if isinstance(options, Prune):
            trainer: Trainer = PruningTrainer(job, folder, console, options)
        else:
            trainer = Trainer(job, folder, console)
        if begun:
            trainer.resume()
        train_state = untaught(trainer.run(stop))
        history = folder.history()
        params, state = train_state.evaluated
        return dataclasses.replace(
            self,
            config=job.config,
            params=params,
            state=state,
            position=trainer.position,
            history=history,
            train_state=train_state,
        )


class PruningTrainer(Trainer):
    """Prunes before each epoch, by a cubic schedule."""

    def __init__(self, job: Job, folder: RunFolder, console: Console, options: Prune) -> None:
        super().__init__(job, folder, console)
        self.options = options
        self.start = zeros(job.train_state.params)

    def _train_epoch(self, display: ProgressDisplay, stop: StopRequest) -> None:
        options = self.options
        if not self.position.batch:  # else a training goes on inside an epoch, whose weights are pruned
            share = sparsity_at(self.position.epoch, options.epochs, options.sparsity, self.start)
            self.train_state = pruned_state(self.train_state, max(share, self.start), options.scope)
        super()._train_epoch(display, stop)


def zeros(params: Parameters) -> float:
    """The share of zeros in the kernels."""
    kernels = [np.asarray(value) for value in params.values() if value.ndim > 1]
    return float(sum((kernel == 0).sum() for kernel in kernels) / sum(kernel.size for kernel in kernels))


def pruned_state(train_state: TrainState, sparsity: float, scope: str) -> TrainState:
    """A train state, of an optimiser that keeps zeros, with more of them: in weights, averages and masks."""
    params = pruned(train_state.params, sparsity, scope)
    masks = masks_of(params)

    def is_like_params(tree: Any) -> bool:
        return isinstance(tree, dict) and tree.keys() == params.keys()

    inner = jax.tree.map(
        lambda tree: masked(tree, masks) if is_like_params(tree) else tree,
        train_state.opt_state.inner,
        is_leaf=is_like_params,
    )
    average = train_state.ema
    if average is not None:
        average = average | masked({name: average[name] for name in params}, masks)
    return train_state._replace(params=params, ema=average, opt_state=MaskedState(masks, inner))


def taylor_products(work: Work, batches: int) -> dict[str, Float[Array, "..."]]:
    """|w dL/dw| of every parameter, the mean over so many batches of training images, in evaluation."""
    parts = work.pure()

    def loss(params: Parameters, state: State, x: Array, batch: dict[str, Array]) -> Float[Array, ""]:
        logits, _ = parts.apply(params, state, x, train=False)
        return ops.cross_entropy(logits, batch["label"], mask=batch["mask"])

    @jax.jit
    def products(params: Parameters, state: State, x: Array, batch: dict[str, Array]) -> dict[str, Array]:
        gradient = jax.grad(loss)(params, state, x, batch)
        return {name: jnp.abs(value * gradient[name]) for name, value in params.items()}

    total: dict[str, np.ndarray] = {name: np.zeros(value.shape) for name, value in work.params.items()}
    seen = 0
    for x, batch in training_images(work, batches):
        for name, value in products(work.params, work.state, x, batch).items():
            total[name] += np.asarray(value, np.float64)
        seen += 1
    return {name: jnp.asarray(value / seen, work.params[name].dtype) for name, value in total.items()}


def training_images(work: Work, batches: int) -> Iterator[tuple[Float[Array, "n h w c"], dict[str, Array]]]:
    """So many batches of the training split, as in evaluation: the normalised images, and the whole batch."""
    config, loaded = work.config, work.loaded
    size = config.augment.crop_size
    mean, std = jnp.asarray(loaded.mean), jnp.asarray(np.maximum(loaded.std, 1e-6))

    @jax.jit
    def prepared(images: Array) -> Float[Array, "n h w c"]:
        x = data.to_float(images)
        return data.normalise(x if size is None else data.centre_crop(x, (size, size)), mean, std)

    source = data.batches(
        loaded.splits.train, config.run.batch_size, shuffle=True, seed=config.run.seed, epoch=0
    )
    for _, batch in zip(range(batches), source, strict=False):
        arrays = {name: jnp.asarray(batch[name]) for name in ("image", "label", "mask")}
        yield prepared(arrays["image"]), arrays
