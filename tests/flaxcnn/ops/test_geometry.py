"""Window geometry: the meaning of the options, and invalid values."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st

from flaxcnn.ops.geometry import axis, check_images, padding_pairs, pair


@given(
    length=st.integers(1, 12),
    window=st.integers(1, 5),
    stride=st.integers(1, 6),
    dilation=st.integers(1, 3),
    padding=st.integers(0, 2),
    ceil_mode=st.booleans(),
)
def test_output_size_is_that_of_torch(length, window, stride, dilation, padding, ceil_mode):
    assume(padding <= window // 2 and length + 2 * padding > dilation * (window - 1))
    solved = axis(length, window, stride, dilation, (padding, padding), ceil_mode=ceil_mode)
    y = F.max_pool1d(torch.zeros(1, 1, length), window, stride, padding, dilation, ceil_mode)
    assert solved.output == y.shape[-1]
    assert 0 <= solved.remainder < stride
    # Every window, the last one too, ends inside the padded input.
    assert (solved.output - 1) * stride + solved.span + solved.remainder == length + sum(solved.padding)


def test_the_three_forms_of_padding():
    assert padding_pairs(1) == ((1, 1), (1, 1))
    assert padding_pairs((1, 2)) == ((1, 1), (2, 2))
    assert padding_pairs(((0, 1), (2, 3))) == ((0, 1), (2, 3))


@pytest.mark.parametrize("padding", [(1, (0, 1)), ((0, 1),), "ab", 1.5, (1, 2, 3), ((0, 1, 2), (0, 1))])
def test_other_paddings_are_refused(padding):
    with pytest.raises(ValueError, match="padding"):
        padding_pairs(padding)


@pytest.mark.parametrize("value", [0, (1, 0), (1,), None, "3", 2.0])
def test_bad_pairs_are_refused(value):
    with pytest.raises(ValueError, match=r"stride is .* integer of at least 1"):
        pair(value, "stride", minimum=1)


def test_a_single_image_is_refused():
    with pytest.raises(ValueError, match=r"images are \[batch, height, width, channels\]"):
        check_images((28, 28, 1))
