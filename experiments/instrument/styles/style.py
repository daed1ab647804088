"""The ways in which a person may write a network down: every axis is drawn by itself."""

import dataclasses

import numpy as np

from experiments.instrument.styles.network import Network

API = ("compact", "setup", "nnx")
# How the mode is told. "field": of the class; "mutable": by what may change (Linen); "own": `.train()` (NNX).
ARGUMENTS = ("train", "training", "is_training", "learning")
INVERTED = ("deterministic", "use_running_average", "inference", "evaluating")
# Of what runs inside: `lax.scan` sums up a mean, "function" compiles an activation, the others a block.
INSIDE = ("none", "function", "jit", "remat", "scan")


@dataclasses.dataclass(frozen=True)
class Style:
    """How the two texts are written.

    Attributes:
        api: of Flax.
        mode: the name of the argument or field that tells the mode, "mutable" or "own".
        at_field: the mode is a field of the class, no argument.
        nested: blocks are classes of their own, also in Flax.
        fused: a convolution, its norm and its activation are one class in Flax.
        own_kernel: that class has a kernel of its own and calls `lax.conv_general_dilated`.
        partial: norms and convolutions are made by `functools.partial`, which blocks take as fields.
        fields: blocks take their activation as a field: a plain function; other fields are None.
        names: "same" as PyTorch's, "auto" (Linen compact), or "other".
        reversed: layers are defined in the reverse order of the calls.
        lists: neighbouring blocks stand in a list.
        sequential: blocks without a mode are a `Sequential`.
        padding: "argument", "pairs" or "hand".
        functional: activations from `jax.nn`, pools by `lax.reduce_window`.
        pin: "none", "layer" (`dtype=` of the norms and the head) or "cast" (`astype` around them).
        norm: "library", or batch norms written by hand with PyTorch's variance.
        stream: the name of the random stream of dropout.
        by_hand: dropout is written out by `jax.random.bernoulli`.
        inside: see `INSIDE`.
        axis_name: batch norms name a mapped axis.
        nchw: Flax takes PyTorch's layout and transposes.
        output: "array", "dict", "tuple" or "dataclass".
        torch_nested: "flat", "blocks", "sequential" or "list".
        torch_functional: `F.relu`, `F.dropout`, `F.max_pool2d` in place of modules.
        torch_padding: "argument", "layer" or "F.pad".
        torch_fused: norm and activation are one class in PyTorch.
        torch_extras: `inplace=True`, `nn.Identity`, a view for a flatten, a mean for a pool.
        weight_norm: the first convolution is reparametrised in PyTorch.
    """

    api: str
    mode: str
    at_field: bool
    nested: bool
    fused: bool
    own_kernel: bool
    partial: bool
    fields: bool
    names: str
    reversed: bool
    lists: bool
    sequential: bool
    padding: str
    functional: bool
    pin: str
    norm: str
    stream: str
    by_hand: bool
    inside: str
    axis_name: bool
    nchw: bool
    output: str
    torch_nested: str
    torch_functional: bool
    torch_padding: str
    torch_fused: bool
    torch_extras: bool
    weight_norm: bool


def drawn(seed: int, network: Network) -> Style:
    """A random style for a network; what cannot go together is settled."""
    generator = np.random.default_rng((seed, 2))

    def one(*choices: str) -> str:
        return str(generator.choice(choices))

    def chance(share: float) -> bool:
        return bool(generator.random() < share)

    api = one(*API)
    # Every axis is drawn in every style, so that a new choice in one changes no other.
    mode = one(*ARGUMENTS, *INVERTED, "mutable", "own", "own")
    style = Style(
        api=api,
        mode=mode,
        at_field=chance(0.25),
        nested=chance(0.6),
        fused=chance(0.3),
        own_kernel=chance(0.3),
        partial=chance(0.35),
        fields=chance(0.35),
        names=one("same", "auto", "other"),
        reversed=chance(0.3),
        lists=chance(0.3),
        sequential=chance(0.3),
        padding=one("argument", "pairs", "hand"),
        functional=chance(0.4),
        pin=one("none", "none", "none", "layer", "cast"),
        norm=one("library", "library", "hand"),
        stream=one("dropout", "dropout", "noise"),
        by_hand=chance(0.2),
        inside=one("none", "none", "none", *INSIDE[1:]),
        axis_name=chance(0.2),
        nchw=chance(0.15),
        output=one("array", "array", "array", "dict", "tuple", "dataclass"),
        torch_nested=one("flat", "blocks", "sequential", "list"),
        torch_functional=chance(0.4),
        torch_padding=one("argument", "argument", "layer", "F.pad"),
        torch_fused=chance(0.15),
        torch_extras=chance(0.5),
        weight_norm=chance(0.1),
    )
    return settled(style, network)


def settled(style: Style, network: Network) -> Style:
    """The style with choices that its API lacks, or that the network leaves no place for, replaced."""
    linen, change = style.api != "nnx", {}
    if style.mode == "mutable" and not (linen and _has_batch_norm(network)):
        change["mode"] = "train" if linen else "own"
    if style.mode == "own" and linen:
        change["mode"] = "train"
    mode = change.get("mode", style.mode)
    if mode in ("mutable", "own"):
        change["at_field"] = False
    if style.names == "auto" and style.api != "compact":
        change["names"] = "other"
    if style.api == "compact":
        change["reversed"] = False
    return dataclasses.replace(style, **change)


def _has_batch_norm(network: Network) -> bool:
    from experiments.instrument.styles.network import Norm, walk

    return any(isinstance(node, Norm) and node.kind == "batch" for node in walk(network.nodes))
