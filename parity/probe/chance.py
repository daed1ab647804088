"""A module that draws random numbers is run as it is, on both sides, and what came is compared by exact tests.

A run of the models compares them under PyTorch's own masks, so it cannot tell what Flax's modules draw. Here each site
that draws on either side is called CALLS times on a batch of EXAMPLES, with its own random numbers.
"""

import dataclasses
from collections.abc import Iterable

import numpy as np

from parity.capture.sampling import CALLS, Fed, Samples, sample_flax, sample_torch
from parity.capture.trace import Call, Trace
from parity.diagnose.words import number_words
from parity.matching.axes import moves
from parity.matching.calls import Alignment, Site
from parity.probe.draws import TESTS, Draws, Unlike, unlike, what_is_dropped
from parity.probe.idle import without_idle
from parity.probe.sides import Sides
from parity.probe.written import written_draws
from parity.verdict.probe import Mode, Probe

# Of all tests of a check together, in both modes.
ERROR_RATE = 1e-6
EXAMPLES = 100
# Longer examples are cut along their longest axes, unless the module refuses the cut ones.
_LARGEST, _LARGEST_UNCUT = 256, 10_000
# Exact in every precision, so that a quotient of output and input is the factor itself.
_VALUES = np.float32([2, -1, 1, -2, 0.5, -0.5])


def probe_chance(
    sides: Sides, mode: Mode, alignment: Alignment, torch: Trace, observed: Trace
) -> list[Probe]:
    """Compare what the layers draw, whether they drop, how often and what, and how they scale.

    Args:
        sides: both models.
        mode: in which they run.
        alignment: the sites of that mode.
        torch: a run of PyTorch's side, for the shapes and for the calls that draw.
        observed: a run of Flax's side, likewise.
    """
    sites = [site for site in alignment.sites if site.role == "layer" and _draws(site, torch, observed)]
    loose = _loose(sides, mode, alignment, torch, observed)
    written = alignment.masks
    if not sites and not written:
        return loose
    if sides.reference.model is None:
        words = "what random layers draw was not compared: a capture of PyTorch's side cannot be run again"
        return [_probe("", mode, "declined", words), *loose]
    probes = loose
    run = _Run(sides, mode, torch, observed)
    found = run.draws(sites)
    found |= written_draws(sides, mode, written, observed, lambda shape: _batch(shape, True))
    level = ERROR_RATE / (2 * TESTS * len(found))
    names = {call.key: call.path for call in (*(s.torch for s in sites), *(p.torch for p in written))}
    for key, drawn in found.items():
        name = names[key]
        probes += (
            [_unprobed(name, mode, drawn)] if isinstance(drawn, str) else _compared(name, mode, *drawn, level)
        )
    both = [drawn for drawn in found.values() if not isinstance(drawn, str)]
    if both:
        words = (
            f"{len(both)} random layer{'s' * (len(both) > 1)}: what they drop, how often and how they scale, "
            f"in {CALLS * EXAMPLES} examples each, at an error rate of {ERROR_RATE:.0e} for all"
        )
        probes.insert(0, _probe("", mode, "agrees", words))
    return probes


def _probe(name: str, mode: Mode, outcome: str, message: str, **cause: str) -> Probe:
    return Probe("chance", name, mode, "forward", "output", outcome, message, **cause)  # type: ignore[arg-type]


def _draws(site: Site, torch: Trace, observed: Trace) -> bool:
    """Whether a site draws on either side."""
    return any(call.draws for call in (*torch.inside(site.torch), *observed.inside(site.flax)))


def _loose(sides: Sides, mode: Mode, alignment: Alignment, torch: Trace, observed: Trace) -> list[Probe]:
    """Random numbers that are drawn outside of the layers that both sides have."""
    layers = [site for site in alignment.sites if site.role == "layer"]
    covered = [
        {call.key for call in calls for call in trace.inside(call)}
        for calls, trace in (
            ([site.torch for site in layers], torch),
            ([site.flax for site in layers], observed),
        )
    ]
    covered[0] |= {pair.torch.key for pair in alignment.masks}
    drawing = [
        [call for call in trace.calls if call.draws and call.key not in keys]
        for trace, keys in zip((torch, observed), covered, strict=True)
    ]
    if any(drawing) and not all(drawing):
        drawing = without_idle(sides, mode, drawing, (torch, observed), lambda shape: _batch(shape, True))
    if not any(drawing):
        return []
    words = [_places(calls) for calls in drawing]
    if all(drawing):
        message = (
            f"random numbers are drawn in PyTorch {words[0]} and in Flax {words[1]}, which are not paired: "
            "what they draw was not compared"
        )
        return [_probe("", mode, "unprobed", message)]
    side, other = ("PyTorch", "Flax") if drawing[0] else ("Flax", "PyTorch")
    where = words[0] or words[1]
    texts = [f"draws random numbers {text}" if text else "draws none there" for text in words]
    fix = "draw random numbers on both sides, in a layer of the same name"
    message = f"{side} draws random numbers {where}, and {other} draws none there"
    name = (drawing[0] or drawing[1])[0].path
    return [_probe(name, mode, "differs", message, id="dropout-rate", torch=texts[0], flax=texts[1], fix=fix)]


def _places(calls: Iterable[Call]) -> str:
    paths = dict.fromkeys(call.path or "the model itself" for call in calls)
    return f"in {', '.join(paths)}" if paths else ""


def _unprobed(name: str, mode: Mode, reason: str) -> Probe:
    return _probe(
        name,
        mode,
        "unprobed",
        f"what it draws was not compared, since it could not be run alone: {reason}",
    )


def _compared(name: str, mode: Mode, torch: Draws, flax: Draws, level: float) -> list[Probe]:
    found = [_difference(name, mode, torch, flax, difference) for difference in unlike(torch, flax, level)]
    if found or torch.varies or flax.varies or torch.is_identity or torch.kept == 0:
        return found
    words = f"none of {CALLS * EXAMPLES} examples was dropped, so that what it drops was not compared"
    return [_probe(name, mode, "unprobed", words)]


def _difference(name: str, mode: Mode, torch: Draws, flax: Draws, difference: Unlike) -> Probe:
    message = (
        f"PyTorch {difference.torch}; Flax {difference.flax} "
        f"({CALLS * EXAMPLES} examples, error rate {ERROR_RATE:.0e} for all layers)"
    )
    ids = {"rate": "dropout-rate", "shape": "dropout-shape", "noise": ""}
    fixes = {"rate": _rate_fix(mode, torch, flax), "shape": _shape_fix(torch), "noise": ""}
    return _probe(
        name,
        mode,
        "differs",
        message,
        id=ids[difference.what],
        torch=difference.torch,
        flax=difference.flax,
        fix=fixes[difference.what],
    )


def _rate_fix(mode: Mode, torch: Draws, flax: Draws) -> str:
    if not torch.varies and mode == "eval":
        return "pass deterministic=True in evaluation"
    if torch.varies and not flax.varies:
        return "pass deterministic=False in training" if mode == "train" else "keep it active in evaluation"
    if torch.kept is None or not torch.varies or torch.kept <= 1:
        return "what PyTorch does, written out"
    return (
        f"rate={number_words(1 - 1 / torch.kept)}, the share that is dropped, "
        f"and a factor of {number_words(torch.kept)} for what is kept"
    )


def _shape_fix(torch: Draws) -> str:
    """The axes along which a mask is constant, as Flax's Dropout takes them."""
    by_example, *rest = torch.varying
    constant = [not by_example, *(not varies for varies in rest)]
    if not torch.is_last and len(constant) > 2:
        constant = [constant[0], *constant[2:], constant[1]]
    axes = tuple(axis for axis, is_constant in enumerate(constant) if is_constant)
    return f"broadcast_dims={axes}, so that it drops {what_is_dropped(torch)}"


@dataclasses.dataclass(frozen=True)
class _Run:
    """Samples of both sides."""

    sides: Sides
    mode: Mode
    torch: Trace
    observed: Trace

    def draws(self, sites: list[Site]) -> dict[str, tuple[Draws, Draws] | str]:
        """What both sides drew, by PyTorch's key, or why it is not known.

        Layers that refuse a cut example are given whole ones.
        """
        found: dict[str, tuple[Draws, Draws] | str] = {}
        for cut in (True, False):
            left = [site for site in sites if not isinstance(found.get(site.torch.key), tuple)]
            fed = {site.torch.key: self._fed(site, cut) for site in left}
            left = [site for site in left if fed[site.torch.key] is not None]
            if left:
                found |= self._sampled(left, {key: given for key, given in fed.items() if given is not None})
        return {
            site.torch.key: found.get(site.torch.key, "it is given no floating tensors, or too large ones")
            for site in sites
        }

    def _fed(self, site: Site, cut: bool) -> Fed | None:
        """Inputs of PyTorch's call; None if it has none that are floating, or too large ones."""
        arrays = [self.torch.get(site.torch, "input", index) for index in range(site.torch.inputs)]
        fed = tuple(_batch(a.shape, cut) if a is not None and a.dtype.kind == "f" else None for a in arrays)
        sizes = [array.size for array in fed if array is not None]
        return fed if sizes and max(sizes) <= _LARGEST_UNCUT * EXAMPLES else None

    def _sampled(self, sites: list[Site], fed: dict[str, Fed]) -> dict[str, tuple[Draws, Draws] | str]:
        sides, reference = self.sides, self.sides.reference
        assert reference.model is not None
        options = {"mode": self.mode, "seed": sides.seed}
        torch = sample_torch(reference.model(), reference.inputs, fed=fed, **options)  # type: ignore[arg-type]
        flax = sample_flax(
            sides.flax,
            sides.params,
            sides.state,
            sides.inputs,
            fed={site.flax.key: self._to_flax(site, fed[site.torch.key]) for site in sites},
            **options,  # type: ignore[arg-type]
        )
        return {site.torch.key: self._of(site, fed[site.torch.key], torch, flax) for site in sites}

    def _to_flax(self, site: Site, fed: Fed) -> Fed:
        """The inputs in Flax's layout, which the recorded shapes tell."""
        return tuple(
            None
            if array is None
            else np.moveaxis(array, 1, -1)
            if self._moves(site, "input", index)
            else array
            for index, array in enumerate(fed)
        )

    def _moves(self, site: Site, what: str, index: int) -> bool:
        torch, flax = self.torch.get(site.torch, what, index), self.observed.get(site.flax, what, index)
        return torch is not None and flax is not None and moves(torch.shape, flax.shape, site.torch.last_axis)

    def _of(self, site: Site, fed: Fed, torch: Samples, flax: Samples) -> tuple[Draws, Draws] | str:
        failure = torch.failures.get(site.torch.key) or flax.failures.get(site.flax.key)
        if failure is not None:
            return failure
        torch_outputs, flax_outputs = torch.outputs[site.torch.key], flax.outputs[site.flax.key]
        if self._moves(site, "output", 0):
            flax_outputs = np.moveaxis(flax_outputs, -1, 2)
        if torch_outputs.shape != flax_outputs.shape:
            shapes = f"{torch_outputs.shape[1:]} in PyTorch and {flax_outputs.shape[1:]} in Flax"
            return f"its outputs have the shapes {shapes}"
        if not (np.all(np.isfinite(torch_outputs)) and np.all(np.isfinite(flax_outputs))):
            return "its outputs are not finite"
        inputs = next(array for array in fed if array is not None)
        is_last = site.torch.last_axis
        return (
            Draws.of(torch_outputs, inputs, torch.epsilons[site.torch.key], is_last),
            Draws.of(flax_outputs, inputs, flax.epsilons[site.flax.key], is_last),
        )


def _batch(shape: tuple[int, ...], cut: bool) -> np.ndarray:
    """Equal examples of a recorded shape [n, ...], of numbers of both signs."""
    lengths = list(shape[1:])
    while cut and lengths and int(np.prod(lengths)) > _LARGEST:
        longest = lengths.index(max(lengths))
        lengths[longest] = (lengths[longest] + 1) // 2
    example = np.resize(_VALUES, lengths)
    return np.broadcast_to(example, (EXAMPLES, *lengths))
