"""The suites turn red if a defect is planted in flaxcnn's source; the planting itself is exact and is undone."""

import inspect
import textwrap

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from experiments.instrument.mutation import find
from experiments.instrument.mutation.plant import edited, live_function, module_of, planted
from flaxcnn import ops
from flaxcnn.models import blocks, layers
from flaxcnn.optim import clipping
from parity.errors import CannotCompare
from parity.suites import all_cases
from parity.suites.running import run_case

CASES = {case.name: case for case in all_cases()}
QUICK = ("relu_backward", "avg_pool2d", "layers.Dense")
# The broken part: the edited function, its text, the new text, and the case that must turn red.
DEFECTS = {
    "conv2d": (
        "ops.cpu.plain_convolution:plain_convolution",
        "rhs_dilation=[axis.dilation for axis in spatial]",
        "rhs_dilation=[axis.dilation for axis in spatial[::-1]]",
        "conv-03",
    ),
    "conv2d_backward": ("ops.cpu.plain_convolution:exchanged", "kernel[::-1, ::-1]", "kernel", "conv-04"),
    "max_pool2d": ("ops.max_pooling:_max_along", "fill=-np.inf", "fill=0.0", "max_pool-02"),
    "max_pool2d_backward": (
        "ops.max_pooling:_max_along_backward",
        "jnp.where(wins, rest, zero)",
        "jnp.where(wins, cotangent, zero)",
        "max_pool-04",
    ),
    "avg_pool2d": (
        "ops.average_pooling:_counts",
        "if count_include_pad:",
        "if not count_include_pad:",
        "avg_pool-01",
    ),
    "avg_pool2d_backward": (
        "ops.average_pooling:avg_pool2d_backward",
        "[shares] * height.window",
        "[summands] * height.window",
        "avg_pool-04",
    ),
    "adaptive_avg_pool2d": (
        "ops.adaptive_pooling:_bins",
        "-(-(index + 1) * length // count)",
        "(index + 1) * length // count",
        "adaptive_avg_pool-01",
    ),
    "adaptive_avg_pool2d_backward": (
        "ops.adaptive_pooling:adaptive_avg_pool2d_backward",
        "_bins(input_shape[1], rows).T",
        "(_bins(input_shape[1], rows) > 0).T",
        "adaptive_avg_pool-02",
    ),
    "batch_norm": (
        "ops.batch_normalisation:batch_norm",
        "variance * (count / jnp.maximum(count - 1, 1))",
        "variance",
        "batch_norm-05",
    ),
    "batch_moments": (
        "ops.batch_normalisation:batch_moments",
        "_mean(summands, mask, count)",
        "_mean(summands, None, count)",
        "batch_norm-08",
    ),
    "batch_norm_backward": (
        "ops.batch_normalisation_backward:batch_norm_backward",
        "(cast_cotangent - through_statistics)",
        "cast_cotangent",
        "batch_norm-02",
    ),
    "batch_norm_eval_backward": (
        "ops.batch_normalisation_backward:batch_norm_eval_backward",
        "cast_cotangent * per_channel(multiplier, x.ndim)",
        "cast_cotangent * per_channel(inverse, x.ndim)",
        "batch_norm-02",
    ),
    "dense": ("ops.dense:dense", "y + jnp.reshape(bias, (1,) * (y.ndim - 1) + (-1,))", "y", "dense-01"),
    "dense_backward": (
        "ops.dense:dense_backward",
        "jnp.sum(rows, axis=0)",
        "jnp.mean(rows, axis=0)",
        "dense-04",
    ),
    "dropout": (
        "ops.dropout:dropout",
        "return dropout_backward(x, mask, rate)",
        "return jnp.where(mask, x, jnp.zeros((), x.dtype))",
        "dropout-03",
    ),
    # A uniform number has other bits in float64 than in float32, and so has a mask that is made of it.
    "dropout_mask": (
        "ops.dropout:dropout_mask",
        "jax.random.bits(key, shape, jnp.uint32) >= jnp.uint32(threshold)",
        "jax.random.uniform(key, shape) >= rate",
        "dropout-02",
    ),
    "dropout_backward": ("ops.dropout:dropout_backward", "1 / (1 - rate)", "1 / rate", "dropout-02"),
    "cross_entropy": (
        "ops.cross_entropy:_prepare",
        "label_smoothing / classes",
        "label_smoothing / (classes - 1)",
        "cross_entropy-01",
    ),
    "cross_entropy_backward": (
        "ops.cross_entropy:cross_entropy_backward",
        "jax.nn.softmax(clean, axis=1) * totals",
        "jax.nn.softmax(clean, axis=1)",
        "cross_entropy-04",
    ),
    "distillation": (
        "ops.distillation:distillation",
        "temperature**2 / number",
        "temperature / number",
        "distillation-03",
    ),
    "distillation_backward": (
        "ops.distillation:distillation_backward",
        "(temperature / number)",
        "(1.0 / number)",
        "distillation-03",
    ),
    "relu": ("ops.activation:relu", "jnp.zeros((), x.dtype)", "x / 100", "relu-01"),
    "relu_backward": ("ops.activation:relu_backward", "x <= 0,", "x < 0,", "relu-06"),
    # The derivative of |x| at 0 is 1 in JAX and 0 in PyTorch.
    "l1_penalty": ("ops.penalties:l1_penalty", "lambda p: p * jnp.sign(p)", "jnp.abs", "penalty-01"),
    "l1_penalty_backward": (
        "ops.penalties:l1_penalty_backward",
        "cotangent.astype(p.dtype) * jnp.sign(p)",
        "jnp.where(p < 0, -cotangent, cotangent)",
        "penalty-02",
    ),
    "l2_penalty": ("ops.penalties:l2_penalty", "jnp.square", "lambda p: p * p / 2", "penalty-03"),
    "l2_penalty_backward": ("ops.penalties:l2_penalty_backward", "2 * cotangent", "cotangent", "penalty-04"),
    "layers.Conv": (
        "models.layers:Conv.__call__",
        "None if self.bias is None else self.bias[...]",
        "None",
        "conv-03",
    ),
    # Flax's convention of momentum instead of PyTorch's.
    "layers.BatchNorm": (
        "models.layers:BatchNorm.__call__",
        "else self.momentum",
        "else 1 - self.momentum",
        "batch_norm-05",
    ),
    "layers.Dense": ("models.layers:Dense.__call__", "self.bias[...]", "None", "dense-01"),
    "rounded": ("ops.rounding:_code", "+ zero", "- zero", "corners-06"),
    "rounded_backward": ("ops.rounding:_inside", "code >= _LOW", "code > _LOW", "corners-06"),
    # The convention of the first paper: scale in evaluation, not in training.
    "layers.Dropout": (
        "models.layers:Dropout.__call__",
        "return x\n",
        "return x * (1 - self.rate)\n",
        "dropout-01",
    ),
}


@pytest.mark.parametrize(
    "what", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in DEFECTS]
)
def test_a_defect_turns_its_case_red(what):
    address, old, new, case = DEFECTS[what]
    module, _, function = address.partition(":")
    with edited(module_of(f"flaxcnn/{module.replace('.', '/')}.py"), function, old, new):
        outcome = run_case(CASES[case])
    assert outcome.result == "divergent", outcome.sentence


@pytest.mark.slow
def test_a_maximum_that_takes_the_last_of_equals_turns_red():
    module = module_of("flaxcnn/ops/max_pooling.py")
    with edited(module, "_takeovers", "value > best", "value >= best"):
        outcome = run_case(CASES["max_pool-08"])
    assert outcome.result == "divergent"


def test_every_public_op_and_layer_has_a_defect():
    own = {
        f"layers.{name}"
        for name, kind in vars(layers).items()
        if inspect.isclass(kind) and issubclass(kind, nnx.Module) and kind.__module__ == layers.__name__
    }
    # fast_rules says which rules may compute, and computes nothing.
    assert set(DEFECTS) == {*ops.__all__, *own} - {"fast_rules"}


SOURCE = textwrap.dedent(
    '''
    """Not 1 + 1."""
    EPSILON = 0.5
    Number = int | float

    class Pool:
        size: int = 3

        def apply(self, x: Float[Array, "n 2"], full: bool = True) -> None:
            if x < 0:
                raise ValueError(f"{x + 1}")
            require_number("x", x, 0)
            if full:
                x = -x
            return jnp.where(not x, np.maximum(x, 1), x) if isinstance(x, int | float) and x > 2 else x.sum()

    def _check(x):
        return x + 1
    '''
)
APPLY = "Pool.apply"
EXPECTED = [
    ("", 3, 10, "0.5 -> 0.505"),
    ("", 7, 16, "3 -> 4"),
    (APPLY, 9, 57, "True -> False"),
    (APPLY, 13, 11, "condition negated"),
    (APPLY, 14, 16, "drop -"),
    (APPLY, 15, 15, "where: branches swapped"),
    (APPLY, 15, 25, "drop not"),
    (APPLY, 15, 32, "maximum -> minimum"),
    (APPLY, 15, 46, "1 -> 2"),
    (APPLY, 15, 56, "condition negated"),
    (APPLY, 15, 87, "and -> or"),
    (APPLY, 15, 91, "2 -> 3"),
    (APPLY, 15, 91, "> -> >="),
    (APPLY, 15, 98, "sum -> mean"),
]


def test_a_source_has_exactly_these_mutants():
    mutants = find.mutants(SOURCE, "pool.py")
    assert [(mutant.function, mutant.line, mutant.column, mutant.what) for mutant in mutants] == EXPECTED
    assert mutants[2].name == "pool.py:Pool.apply:9:57:True -> False"
    assert (mutants[2].first, mutants[2].last) == (10, 15), "a default acts in all of the body"
    assert (mutants[1].first, mutants[1].last) == (6, 15), "and a class's constant in all of the class"
    assert (mutants[3].first, mutants[3].last) == (13, 13), "a condition is run where its body may not be"


def test_every_mutant_of_flaxcnn_has_a_name_of_its_own_and_compiles():
    every = find.all_mutants()
    assert len({mutant.name for mutant in every}) == len(every) > 500
    assert {mutant.file for mutant in every} == set(find.FILES)
    for mutant in every[::7]:
        tree, _ = find.mutated(mutant, find.source(mutant.file))
        compile(tree, mutant.file, "exec")
        assert find.ast.dump(tree) != find.ast.dump(find.ast.parse(find.source(mutant.file)))


def named(file, function, what):
    """The first mutant of that description."""
    wanted = (file, function, what)
    return next(m for m in find.all_mutants() if (m.file, m.function, m.what) == wanted)


X = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)


def pooled():
    return np.asarray(ops.avg_pool2d(jnp.asarray(X), 2)).ravel().tolist()


def test_a_planted_defect_acts_at_once_and_is_undone():
    right = pooled()
    with pytest.raises(RuntimeError), planted(named("flaxcnn/ops/average_pooling.py", "_shares", "/ -> *")):
        assert pooled() == [16 * value for value in right]
        raise RuntimeError
    assert pooled() == right


def test_a_compiled_function_is_compiled_again():
    module = module_of("flaxcnn/ops/average_pooling.py")
    right = pooled()
    whole = "_sum_along(_sum_along(x, 2, width), 1, height)"
    with edited(module, "_sum_pool", whole, f"2 * {whole}"):
        assert pooled() == [2 * value for value in right]
    assert pooled() == right


def test_defaults_constants_and_fields_are_planted_and_undone():
    with planted(named("flaxcnn/ops/average_pooling.py", "avg_pool2d", "0 -> 1")):
        assert ops.avg_pool2d(jnp.asarray(X), 2).shape == (1, 3, 3, 1)
    assert ops.avg_pool2d(jnp.asarray(X), 2).shape == (1, 2, 2, 1)
    with planted(named("flaxcnn/optim/clipping.py", "", "1e-06 -> 1.01e-06")):
        assert clipping.NORM_EPSILON == 1.01e-6
    assert clipping.NORM_EPSILON == 1e-6
    with planted(named("flaxcnn/models/blocks.py", "", "64 -> 65")):
        assert blocks.BlockOptions().width_per_group == 65
    assert blocks.BlockOptions().width_per_group == blocks.BlockOptions.width_per_group == 64


def test_every_mutant_can_be_planted():
    for mutant in find.all_mutants()[::23]:
        with planted(mutant):
            pass


def test_what_cannot_be_planted_is_refused():
    module = module_of("flaxcnn/ops/dense.py")
    with pytest.raises(CannotCompare, match=r"holds 'x' \d+ times"), edited(module, "dense", "x", "y"):
        pass
    with pytest.raises(CannotCompare, match="has no function conv"):
        live_function(module, "conv")
