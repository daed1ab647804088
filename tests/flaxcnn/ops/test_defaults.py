"""Defaults that every op overrides, so that no comparison with PyTorch covers them."""

from flaxcnn.ops.geometry import pooling_axes


def test_a_pooling_takes_no_partial_window_unless_told_to():
    height, width = pooling_axes((1, 5, 7, 1), 2, stride=None, padding=0)
    assert (height.output, width.output) == (2, 3)
    assert (height.overhang, width.overhang) == (0, 0)
    assert (height.dilation, width.dilation) == (1, 1)
