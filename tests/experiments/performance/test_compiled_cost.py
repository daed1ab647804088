"""The operations and bytes of the compiled training step: counted rightly, and no more than is recorded."""

import jax
import jax.numpy as jnp
import pytest

from experiments.performance.compiled_cost import COMMAND, cost_of, counted, stored
from flaxcnn.ops.cpu import onednn, onednn_support
from flaxcnn.ops.geometry import axes

SIDE = 64


def cost(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return cost_of(jax.jit(function).lower(*arrays).compile().as_text())


def test_a_product_in_a_loop_counts_as_often_as_it_runs():
    once = cost(lambda x, w: x[0] @ w, (5, SIDE, SIDE), (SIDE, SIDE))
    loop = cost(lambda x, w: jax.lax.map(lambda row: row @ w, x), (5, SIDE, SIDE), (SIDE, SIDE))
    assert once.flop == 2 * SIDE**3
    assert loop.flop == 5 * once.flop
    # Each turn reads two matrices and writes one, whatever else it copies.
    assert loop.bytes >= 5 * 3 * SIDE**2 * 4
    assert loop.instructions > 5


def test_a_convolution_counts_its_window():
    def convolution(x, w):
        return jax.lax.conv_general_dilated(
            x, w, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"), precision="highest"
        )

    assert cost(convolution, (2, 9, 9, 3), (3, 3, 3, 5)).flop == 2 * (2 * 7 * 7 * 5) * (3 * 3 * 3)


@pytest.mark.skipif(not onednn_support.is_available(), reason="this jaxlib does not compile calls of oneDNN")
def test_a_call_of_onednn_counts_as_what_it_computes():
    with onednn.never_stored():
        product = cost(onednn.outer_products, (5, 7, 3), (5, 7, 4))
        spatial = axes((2, 9, 9, 6), 3, stride=2, padding=1)
        convolution = cost(lambda x, w: onednn.convolution(x, w, spatial, 2), (2, 9, 9, 6), (3, 3, 3, 8))
        exchanged = cost(
            lambda x, w: onednn.convolution_with_exchanged(x, w, spatial), (2, 9, 9, 6), (3, 3, 8, 6)
        )
    assert product.flop == 2 * 5 * 7 * 3 * 4
    assert convolution.flop == 2 * (2 * 5 * 5 * 8) * (3 * 3 * 3)
    assert exchanged.flop == 2 * (2 * 5 * 5 * 8) * (3 * 3 * 6)


@pytest.mark.slow
def test_the_training_step_does_no_more_than_is_recorded():
    """A fast rule that is no longer taken, or a new copy of an activation, shows here."""
    if jax.__version__ not in stored():
        pytest.skip(f"Nothing is recorded for jax {jax.__version__}: {COMMAND} records it.")
    recorded, now = stored()[jax.__version__]["fast"], counted(None)
    assert now.flop <= recorded["flop"]
    assert now.bytes <= 1.02 * recorded["bytes"]
    assert now.instructions <= 1.02 * recorded["instructions"]


@pytest.mark.slow
def test_the_fast_rules_multiply_less():
    assert counted(None).flop < 0.65 * counted(()).flop
