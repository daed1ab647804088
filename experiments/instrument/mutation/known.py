"""What is known of mutants that no case catches, each with the reason.

EQUIVALENT mutants compute the same numbers for every valid argument: nothing could catch them. UNSEEN mutants are
defects that a comparison with PyTorch cannot show; the reason says what else does. Both are named by file, function,
changed line and change, so that an edit elsewhere in the file leaves them named.
"""

from typing import NamedTuple

from experiments.instrument.mutation.find import Mutant, source


class Key(NamedTuple):
    """A mutant, without its line and column: the change lies in the part `text` of its line."""

    file: str
    function: str
    text: str
    what: str

    def names(self, mutant: Mutant) -> bool:
        """Whether a mutant is meant."""
        if (self.file, self.function, self.what) != (mutant.file, mutant.function, mutant.what):
            return False
        start = source(mutant.file).splitlines()[mutant.line - 1].find(self.text)
        return 0 <= start <= mutant.column < start + len(self.text)


def equivalent_because(mutant: Mutant) -> str:
    """Why a mutant is no defect; "" if nothing says so."""
    before = source(mutant.file).splitlines()[mutant.line - 1][: mutant.column]
    if before.endswith("strict="):
        return "What is zipped there always has one length: it guards and does not compute."
    return _reason(EQUIVALENT, mutant)


def unseen_because(mutant: Mutant) -> str:
    """Why no case can show a defect; "" if nothing says so."""
    return _reason(UNSEEN, mutant)


def _reason(table: dict[Key, str], mutant: Mutant) -> str:
    return next((reason for key, reason in table.items() if key.names(mutant)), "")


_WINOGRAD, _PATCHES = "flaxcnn/ops/cpu/winograd.py", "flaxcnn/ops/cpu/patches.py"
_BLOCKS_OP, _BILINEAR = "flaxcnn/ops/cpu/blocks.py", "flaxcnn/ops/cpu/bilinear.py"
_SIZE = "Blocks of another size hold other images and give the same results."
_ONLY_TAP = "JAX reads the last element where an index lies beyond it, and a 1x1 kernel has but one."
_CHOICE = "It only says by which rule, or in how many pieces, the same numbers are computed."
_SURPLUS = "It pads by more than the tiles reach; what lies beyond is not read."

EQUIVALENT: dict[Key, str] = {
    Key(_WINOGRAD, "", "_ELEMENTS, _ROWS = 2**17, 1024", "** -> *"): _SIZE,
    Key(_WINOGRAD, "_convolution", "max(kernels[0].shape)", "max -> min"): _SIZE,
    Key(_WINOGRAD, "kernel_gradient", "max(channels)", "max -> min"): _SIZE,
    Key(_WINOGRAD, "block_size", "spatial[0]", "0 -> 1"): _SIZE,
    Key(_WINOGRAD, "block_size", "rows = min(_ROWS", "min -> max"): _SIZE,
    Key(_WINOGRAD, "_input_tiles", "2 * _tiles(axis)", "2 -> 3"): _SURPLUS,
    Key(_WINOGRAD, "_input_tiles", "+ 2", "2 -> 3"): _SURPLUS,
    Key(_WINOGRAD, "_input_tiles", "- axis.length", "- -> +"): _SURPLUS,
    Key(_WINOGRAD, "_input_tiles", "- axis.before", "- -> +"): _SURPLUS,
    Key(_WINOGRAD, "_cotangent_tiles", "2 * _tiles(axis) - axis.output", "2 -> 3"): _SURPLUS,
    Key(_WINOGRAD, "_cotangent_tiles", "2 * _tiles(axis) - axis.output", "- -> +"): _SURPLUS,
    Key(_WINOGRAD, "", "_ELEMENTS, _ROWS = 2**17, 1024", "2 -> 3"): _SIZE,
    Key(_WINOGRAD, "", "_ELEMENTS, _ROWS = 2**17, 1024", "1024 -> 1025"): _SIZE,
    Key(_WINOGRAD, "_cotangent_tiles", "_tiles(spatial[1]), -2)", "drop -"): (
        "The arrays have four axes, of which the last but one is number 2."
    ),
    Key(_BLOCKS_OP, "sum_blocks", "count == 1 and", "== -> !="): _CHOICE,
    Key(_BLOCKS_OP, "map_blocks", "count == 0 or (count == 1 and not left)", "and -> or"): _CHOICE,
    Key(_BLOCKS_OP, "map_blocks", "count == 0 or (count == 1 and not left)", "drop not"): _CHOICE,
    Key(_BLOCKS_OP, "_divided", "size // 2", "2 -> 3"): _SIZE,
    Key(_BILINEAR, "_fast_convolution", "x.shape[0]", "0 -> 1"): _CHOICE,
    Key(_BILINEAR, "_fast_convolution", "kernel.shape[2:]", "2 -> 3"): _CHOICE,
    Key(_BILINEAR, "_fast_input_gradient", "g.shape[0]", "0 -> 1"): _CHOICE,
    Key(_BILINEAR, "_fast_input_gradient", "kernel.shape[2:]", "2 -> 3"): _CHOICE,
    Key(_BILINEAR, "_fast_kernel_gradient", "x.shape[0]", "0 -> 1"): _CHOICE,
    Key(_PATCHES, "kernel_gradient_by_patches", "size = min(most", "min -> max"): _SIZE,
    Key(_PATCHES, "kernel_gradient_by_patches", "max(1, _BLOCK", "1 -> 2"): _SIZE,
    Key(_PATCHES, "kernel_gradient_by_patches", "_BLOCK // (height.output", "// -> *"): _SIZE,
    Key(_BILINEAR, "_fast_kernel_gradient", "x.shape[3] // groups", "// -> *"): _CHOICE,
    Key("flaxcnn/ops/cross_entropy.py", "_prepare", "logits.astype(dtype), 0)", "0 -> 1"): (
        "Rows that do not count have no target, so any finite number serves in place of their logits."
    ),
    Key("flaxcnn/ops/geometry.py", "padding_pairs", "== 2 and all(", "and -> or"): (
        "It reads what is else refused; a padding that is valid is read alike."
    ),
    Key("flaxcnn/ops/cpu/pointwise.py", "convolution", "kernel[0,", "0 -> 1"): _ONLY_TAP,
    Key("flaxcnn/ops/cpu/pointwise.py", "convolution", " 0])", "0 -> 1"): _ONLY_TAP,
    Key("flaxcnn/ops/cpu/pointwise.py", "input_gradient", "kernel[0,", "0 -> 1"): _ONLY_TAP,
    Key("flaxcnn/ops/cpu/pointwise.py", "input_gradient", " 0])", "0 -> 1"): _ONLY_TAP,
    Key("flaxcnn/ops/cpu/strided.py", "_phase", "0 in taps.shape[:2]", "2 -> 3"): (
        "The third of the sizes is the number of channels, which is not 0."
    ),
    Key("flaxcnn/ops/dense.py", "dense", "(y.ndim - 1)", "1 -> 2"): (
        "A bias with one leading axis less broadcasts to the same numbers."
    ),
    Key("flaxcnn/ops/precision.py", "accumulation_dtype", "itemsize < 4", "< -> <="): (
        "A dtype of four bytes is then replaced by float32, which it is."
    ),
    Key("flaxcnn/ops/precision.py", "accumulation_dtype", "itemsize < 4", "4 -> 5"): (
        "A dtype of four bytes is then replaced by float32, which it is; none has five."
    ),
    Key("flaxcnn/ops/max_pooling.py", "_takeovers", "if shift < axis.dilation", "< -> <="): (
        "Positions begin at the shift, so none lies below the dilation where the two are equal."
    ),
    Key("flaxcnn/optim/schedules.py", "with_warm_up", "now < steps", "< -> <="): (
        "Where the warm-up ends its factor is 1, and both branches are inner(0)."
    ),
}
UNSEEN: dict[Key, str] = {
    Key(_BILINEAR, "convolution", "if is_divided(x, kernel)", "condition negated"): (
        "On one device both rules give the same; tests/flaxcnn/ops/cpu/test_fast_rules.py divides arrays among devices."
    ),
    Key(_BILINEAR, "_primitive", 'if name != "kernel_gradient"', "!= -> =="): (
        "It acts while flaxcnn is imported, before a defect can be planted; both rules of `vmap` give the same."
    ),
    Key("flaxcnn/optim/rules.py", "bias_correction", "if beta == 0", "0 -> 1"): (
        "No case has a decay of 0; tests/flaxcnn/optim/test_optimisers.py has one."
    ),
    Key("flaxcnn/ops/cross_entropy.py", "_one_hot", "labels < classes", "< -> <="): (
        "PyTorch raises at a label out of range; tests/flaxcnn/ops/test_cross_entropy.py holds that flaxcnn gives NaN."
    ),
    Key("flaxcnn/ops/geometry.py", "pooling_axes", "ceil_mode: bool = False", "False -> True"): (
        "Every op says what it wants; tests/flaxcnn/ops/test_defaults.py says nothing."
    ),
    Key(
        "flaxcnn/ops/cpu/primitive.py",
        "platform_primitive",
        "on_cpu, multiple_results=False",
        "False -> True",
    ): (
        "It acts while flaxcnn is imported, before a defect can be planted; no convolution would be compiled."
    ),
    Key("flaxcnn/optim/schedules.py", "one_cycle", "0.0, 1.0)", "1.0 -> 1.01"): (
        "It acts after the last update, where PyTorch raises; tests/flaxcnn/optim/test_schedules.py goes on."
    ),
}
