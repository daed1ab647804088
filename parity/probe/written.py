"""What the masks drop that Flax draws between its calls, beside what PyTorch's calls drop in their place.

How the kept is scaled shows where the models run under PyTorch's choice of elements: the pattern is compared here.
"""

import dataclasses
from collections.abc import Callable

import numpy as np

from parity.capture.sampling import CALLS, Fed, sample_torch, with_draws
from parity.capture.trace import Trace
from parity.capture.written_draws import Mask
from parity.matching.axes import moves
from parity.matching.calls import Alignment, PairedMask
from parity.probe.draws import Draws
from parity.probe.sides import Sides
from parity.verdict.probe import Mode

# Given the shape of an input: a batch of equal examples.
Batch = Callable[[tuple[int, ...]], np.ndarray]
Found = dict[str, tuple[Draws, Draws] | str]


def written_draws(
    sides: Sides, mode: Mode, pairs: tuple[PairedMask, ...], observed: Trace, batch: Batch
) -> Found:
    """What both sides drop, as patterns, by the key of PyTorch's call, or why it is not known.

    Args:
        sides: both models.
        mode: in which they run.
        pairs: the calls of PyTorch's and the masks.
        observed: a run of Flax's side.
        batch: makes the inputs.
    """
    if not pairs:
        return {}
    assert sides.reference.model is not None
    fed: dict[str, Fed] = {pair.torch.key: (batch(pair.shape),) for pair in pairs}
    torch = sample_torch(sides.reference.model(), sides.reference.inputs, mode=mode, seed=sides.seed, fed=fed)
    anew = _drawn_anew(sides, observed)
    found: Found = {}
    for pair in pairs:
        key = pair.torch.key
        if key in torch.failures:
            found[key] = torch.failures[key]
            continue
        (inputs,) = fed[key]
        assert inputs is not None
        draws = Draws.of(torch.outputs[key], inputs, torch.epsilons[key], pair.torch.last_axis)
        kept = _kept(pair, inputs, anew.get(pair.told.key, False), sides.seed)
        if isinstance(kept, str):
            found[key] = kept
        elif draws.kept is None:
            found[key] = "what PyTorch draws there is no choice of what is dropped"
        else:
            found[key] = draws, _pattern(draws, kept)
    return found


def _pattern(torch: Draws, kept: np.ndarray) -> Draws:
    """What a mask keeps, as if it scaled as PyTorch does."""
    assert torch.kept is not None and torch.dropped is not None
    low, high = (0.0, 0.0) if not kept.any() else (1.0, 1.0) if kept.all() else (0.0, 1.0)
    if torch.varies:
        low, high = (torch.dropped if end == 0 else torch.kept for end in (low, high))
    factors = np.where(kept, high, low).astype(torch.factors.dtype)
    return Draws(factors, factors, low, high, torch.epsilon, torch.is_last, is_pattern=True)


def _drawn_anew(sides: Sides, observed: Trace) -> dict[str, bool]:
    """Whether a later call draws by another key, by the name of the key."""
    keys: list[list[Mask]] = []
    for model, seed in ((sides.flax, sides.seed), (sides.flax.later(), sides.seed + 1)):
        drawn = with_draws(observed, model, sides.params, sides.state, sides.inputs, seed)
        keys.append(list(drawn.masks.masks))
    if len(keys[0]) != len(keys[1]):
        return {}
    return {a.name: a.name != b.name for a, b in zip(*keys, strict=True)}


def _kept(pair: PairedMask, inputs: np.ndarray, anew: bool, seed: int) -> np.ndarray | str:
    """What a mask keeps, [calls, examples, ...] with the axes of PyTorch's tensor, cut to the inputs' lengths."""
    lengths = inputs.shape[1:]
    examples = pair.mask.shape[0]
    moved = moves(pair.shape, pair.mask.shape, pair.torch.last_axis)
    rows = pair.told.index.reshape(examples, -1)
    shared = bool(np.all(rows == rows[:1]))
    if examples == 1:
        return "the batch has one example, so that it is not known whether others have masks of their own"
    if not shared and len(np.unique(rows)) < sum(len(np.unique(row)) for row in rows):
        return "some examples share a mask, and others do not"
    calls = CALLS if shared else -(-CALLS * len(inputs) // examples)
    if not anew:
        calls = 1 if shared else -(-len(inputs) // examples)
    drawn = []
    for kept in pair.mask.sampled(calls, seed):
        array = np.moveaxis(kept, -1, 1) if moved else kept
        drawn.append(array[(slice(None), *(slice(length) for length in lengths))])
    made = np.stack(drawn)
    if shared:
        made = np.broadcast_to(made[:, :1], (calls, len(inputs), *lengths))
    else:
        turns = CALLS if anew else 1
        made = made.reshape(-1, *lengths)[: turns * len(inputs)].reshape(turns, len(inputs), *lengths)
    return np.broadcast_to(made, (CALLS, len(inputs), *lengths))


def masks_here(sides: Sides, alignment: Alignment, observed: Trace, inputs: list[np.ndarray]) -> Alignment:
    """The alignment with its masks as they are on other inputs, of which `observed` is a run; the keys are the same."""
    if not alignment.masks:
        return alignment
    drawn = with_draws(observed, sides.flax, sides.params, sides.state, inputs, sides.seed).masks.masks
    by_key = {pair.told.key: pair for pair in alignment.masks}
    told = [(mask, mask.told()) for mask in drawn if mask.name in by_key]
    pairs = [by_key[mask.name]._replace(mask=mask, told=known) for mask, known in told if known is not None]
    return dataclasses.replace(alignment, masks=tuple(pairs))
