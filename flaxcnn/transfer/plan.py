"""Which parameters a run trains, from which epoch on, and with which share of the learning rate."""

import dataclasses
from collections.abc import Mapping

from flax import nnx

from flaxcnn.config import Config, ConfigError
from flaxcnn.functional import Parameters
from flaxcnn.models.layers import BatchNorm
from flaxcnn.transfer.names import matching, stages

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is trained when.

    Attributes:
        epochs: the first epoch of each phase, from 0; in a phase the same parameters are trained.
        frozen: of each phase, the parameters that are not trained and the statistics that do not change.
        groups: the phase in which each parameter is first trained, as the label of its group in the optimiser; None
            where nothing is thawed.
        factors: what the learning rate of each parameter is multiplied by; None where all are alike.
    """

    epochs: tuple[int, ...] = (0,)
    frozen: tuple[frozenset[str], ...] = (frozenset(),)
    groups: Mapping[str, str] | None = None
    factors: Mapping[str, float] | None = None

    def phase(self, epoch: int) -> int:
        """The phase that an epoch belongs to."""
        return sum(first <= epoch for first in self.epochs) - 1


def plan_of(config: Config, model: nnx.Module, params: Parameters) -> Plan:
    """The plan of a run.

    Raises:
        ConfigError: a pattern means nothing, everything would be frozen, or a rate could have no effect.
    """
    settings = config.transfer
    frozen = frozenset().union(*(matching(params, pattern, "freeze", model) for pattern in settings.freeze))
    if len(frozen) == len(params):
        raise ConfigError(
            f"freeze is {' '.join(settings.freeze)}, which matches every parameter, so that nothing would be trained; "
            "leave some out, or give all-but-head."
        )
    thawed: dict[int, frozenset[str]] = {}
    left = frozen
    for epoch, pattern in sorted(_thaw(text) for text in settings.thaw):
        if epoch >= config.run.epochs:
            raise ConfigError(
                f"thaw holds {epoch}:{pattern}, but the run has only {config.run.epochs} epochs; give an earlier epoch."
            )
        found = matching(sorted(left), pattern, "thaw", model)
        left, thawed[epoch] = left - found, thawed.get(epoch, frozenset()) | found
    phases = [frozen]
    for found in thawed.values():
        phases.append(phases[-1] - found)
    groups = None
    if thawed:
        trained = {name: sum(name in phase for phase in phases) for name in params}
        groups = {name: str(phase) for name, phase in trained.items() if phase < len(phases)}
    return Plan(
        epochs=(0, *thawed),
        frozen=tuple(phase | _statistics(model, phase) for phase in phases),
        groups=groups,
        factors=_factors(config, model, params, left),
    )


def _thaw(text: str) -> tuple[int, str]:
    epoch, _, pattern = text.partition(":")
    return int(epoch), pattern


def _norms(model: nnx.Module, frozen: frozenset[str]) -> dict[str, BatchNorm]:
    """The batch norms whose scale and shift are frozen, by name: their statistics are frozen too."""
    found = {}
    for path, module in nnx.iter_modules(model):
        name = ".".join(map(str, path))
        if isinstance(module, BatchNorm) and {f"{name}.weight", f"{name}.bias"} <= frozen:
            found[name] = module
    return found


def _statistics(model: nnx.Module, frozen: frozenset[str]) -> frozenset[str]:
    return frozenset(f"{norm}.{name}" for norm in _norms(model, frozen) for name in _STATISTICS)


def with_frozen_norms(model: nnx.Module, frozen: frozenset[str]) -> nnx.Module:
    """A copy of a model whose frozen batch norms stay in the mode of evaluation; the model itself if none is frozen."""
    if not _norms(model, frozen):
        return model
    copy = nnx.clone(model)
    for norm in _norms(copy, frozen).values():
        norm.frozen = True
    return copy


def divided(params: Parameters, frozen: frozenset[str]) -> tuple[Parameters, Parameters]:
    """The parameters that are trained, and those that are not."""
    trained = {name: value for name, value in params.items() if name not in frozen}
    return trained, {name: value for name, value in params.items() if name in frozen}


def _factors(
    config: Config, model: nnx.Module, params: Parameters, never: frozenset[str]
) -> dict[str, float] | None:
    """The rates of the groups over the peak rate, and the decay from stage to stage where no group is named."""
    settings, peak = config.transfer, config.optimiser.learning_rate
    if not settings.rates and settings.layer_decay == 1.0:
        return None
    if not peak:
        raise ConfigError(
            "rates or layer_decay were given, but learning_rate is 0; give the rate that the others are a share of."
        )
    order = stages(model, params)
    factors = {
        name: settings.layer_decay ** (len(order) - 1 - index)
        for index, stage in enumerate(order)
        for name in stage
    }
    taken: set[str] = set()
    for text in settings.rates:
        pattern, _, rate = text.rpartition("=")
        found = matching(params, pattern, "rates", model) - taken
        if found <= never:
            raise ConfigError(
                f"rates holds {text!r}, which changes nothing: a pattern before it names its parameters, or they are "
                "frozen and never thawed; leave it out."
            )
        factors |= dict.fromkeys(found, float(rate) / peak)
        taken |= found
    return factors
