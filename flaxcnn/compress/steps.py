"""The steps of a recipe: each makes a network of a network."""

import dataclasses
from pathlib import Path

from rich.console import Console

from flaxcnn.compress.cluster import clustered
from flaxcnn.compress.factorise import candidates, factorised, rank_for, saves
from flaxcnn.compress.groups import Structure, structure
from flaxcnn.compress.layers import products_of
from flaxcnn.compress.measure import compiled_flops
from flaxcnn.compress.prune import pruned
from flaxcnn.compress.quantise import grid, input_ranges, quantised
from flaxcnn.compress.ranking import scores
from flaxcnn.compress.recipe import Cluster, Factorise, Prune, Quantise, Shrink, Step, Training
from flaxcnn.compress.shrink import Scores, Shrunken, choose, shrink
from flaxcnn.compress.work import Work, taylor_products, zeros
from flaxcnn.models.resized import Architecture
from flaxcnn.train.interrupts import StopRequest

# The count that guides the choice has the multiplications by padding too, so that a factor may be missed by a little.
_TRIES = 5


def take(step: Step, work: Work, console: Console, stop: StopRequest, passing: Path) -> Work:
    """Do one step; say in a line what came of it.

    Args:
        step: of a recipe.
        work: the network before it.
        console: where progress is printed.
        stop: by which it may be asked to stop.
        passing: the run folder of its training, if it trains: new, or of one that was interrupted.

    Raises:
        InvalidArgument: a layer would be left without channels or weights.
        NonFiniteLossError, InterruptedRun: of a training.
    """
    if isinstance(step, Training):
        return work.trained(step, console, stop, passing)
    with stop.immediate("Interrupted."):
        if isinstance(step, Shrink):
            return _shrunken(step, work, console)
        if isinstance(step, Factorise):
            return _factorised(step, work, console)
        if isinstance(step, Quantise):
            return _quantised(step, work, console)
        if isinstance(step, Cluster):
            console.print(f"cluster: at most {step.values} values in each kernel")
            return work.changed(clustered(work.params, step.values))
    return _pruned(step, work, console, stop, passing)


def _pruned(step: Prune, work: Work, console: Console, stop: StopRequest, passing: Path) -> Work:
    config = work.config.replace(keep_zeros=True)
    if step.epochs:
        work = work.changed(work.params, config=config).trained(step, console, stop, passing)
    else:
        work = work.changed(pruned(work.params, step.sparsity, step.scope), config=config)
    console.print(f"prune: {zeros(work.params):.1%} of the kernels' weights are 0")
    return work


def _factorised(step: Factorise, work: Work, console: Console) -> Work:
    chosen = candidates(work.model(), step.layers)
    kernels = {name: work.params[f"{name}.weight"] for name in chosen.layers}
    ranks = {
        name: rank_for(kernel, energy=step.energy, rank=step.rank, ratio=step.ratio)
        for name, kernel in kernels.items()
    }
    ranks = {name: rank for name, rank in ranks.items() if saves(kernels[name], rank)}
    params = factorised(work.params, ranks)
    sizes = [sum(value.size for value in arrays.values()) for arrays in (work.params, params)]
    alone = f"; {len(chosen.grouped)} grouped convolutions are left alone" if chosen.grouped else ""
    console.print(
        f"factorise: {len(ranks)} of {len(kernels)} layers became two, where that saves weights; {sizes[0]:,} "
        f"parameters became {sizes[1]:,}{alone}"
    )
    known = work.known_architecture()
    architecture = dataclasses.replace(
        known,
        shapes={name: tuple(value.shape) for name, value in (params | work.state).items()},
        factored=(*known.factored, *ranks),
        inputs={f"{name}.0" if name in ranks else name: value for name, value in known.inputs.items()},
    )
    return work.changed(params, architecture=architecture)


def _quantised(step: Quantise, work: Work, console: Console) -> Work:
    layers = products_of(work.model(), step.layers)
    params, known = quantised(work.params, layers), work.known_architecture()
    told = f"quantise: the weights of {len(layers)} layers have 8 bits"
    if step.activations:
        percentile = 100.0 if step.calibration == "minmax" else step.percentile
        ranges = input_ranges(work.changed(params), layers, step.batches, percentile)
        inputs = known.inputs | {name: grid(*ends) for name, ends in ranges.items()}
        work = work.changed(params, architecture=dataclasses.replace(known, inputs=inputs))
        told += f", and the inputs of {len(ranges)}"
    console.print(told)
    return work.changed(params)


def _shrunken(step: Shrink, work: Work, console: Console) -> Work:
    parts = work.pure()
    size = work.config.augment.crop_size
    height, width, channels = work.loaded.splits.info.image_shape
    shape = (height, width, channels) if size is None else (size, size, channels)
    found = structure(parts, shape)
    products = taylor_products(work, step.batches) if step.criterion == "taylor" else None
    order = scores(found, parts.params, step.criterion, products=products)
    if step.flops is None:
        removed = choose(found, order, ratio=step.ratio, ranking=step.ranking)
        small = shrink(found, work.params, work.state, removed)
    else:
        small = _by_flops(step, work, found, order, shape)
    units = sum(len(group.units) for group in found.groups)
    sizes = [sum(value.size for value in params.values()) for params in (work.params, small.params)]
    console.print(
        f"shrink: {len(small.removed)} of {units} channels removed, {sizes[0]:,} parameters became {sizes[1]:,}"
    )
    return work.changed(small.params, state=small.state, architecture=_kept(work, small))


def _kept(work: Work, small: Shrunken) -> Architecture:
    """The architecture of a smaller network, with what does not change by that."""
    shapes, groups = small.architecture.shapes, small.architecture.groups
    return dataclasses.replace(work.known_architecture(), shapes=shapes, groups=groups)


def _by_flops(
    step: Shrink, work: Work, found: Structure, order: Scores, shape: tuple[int, int, int]
) -> Shrunken:
    """As many channels as the factor needs in the compiled program."""
    whole, factor = compiled_flops(work.pure(), shape), step.flops
    for _ in range(_TRIES):
        removed = choose(found, order, flops=factor, ranking=step.ranking)
        small = shrink(found, work.params, work.state, removed)
        less = work.changed(small.params, state=small.state, architecture=_kept(work, small))
        reached = whole / compiled_flops(less.pure(), shape)
        if reached >= step.flops:
            break
        factor *= 1.002 * step.flops / reached
    return small
