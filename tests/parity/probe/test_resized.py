"""Which other sizes are tried, and what is drawn at them."""

import numpy as np
import pytest

from parity.probe.resized import drawn, trials


@pytest.mark.parametrize(
    ("shape", "odd", "mixed", "doubled"),
    [
        ((8, 3, 32, 32), (1, 3, 33, 63), (1, 3, 61, 35), (2, 3, 64, 64)),
        ((32, 3, 224, 224), (1, 3, 225, 255), (1, 3, 253, 227), (8, 3, 448, 448)),
        ((1, 3, 7, 9), (2, 3, 8, 10), (2, 3, 13, 11), (1, 3, 14, 18)),
        ((2, 1, 4, 6, 8), (1, 1, 5, 7, 15), (1, 1, 5, 13, 11), (2, 1, 8, 12, 16)),
    ],
)
def test_sizes_are_odd_at_every_depth_or_doubled(shape, odd, mixed, doubled):
    first, between, second = trials([np.zeros(shape, np.float32)])
    assert [trial.shapes[0] for trial in first] == [odd, (odd[0], *shape[1:]), (shape[0], *odd[1:])]
    assert [trial.shapes[0] for trial in between] == [mixed]
    assert [trial.shapes[0] for trial in second] == [doubled]


def test_an_axis_is_odd_after_one_halving_that_rounds_the_other_way():
    (mixed,) = trials([np.zeros((4, 3, 32, 32), np.float32)])[1]
    rows, columns = mixed.shapes[0][2:]
    up, down = [-(-rows // 2)], [columns // 2]
    for _ in range(2):
        up, down = [*up, up[-1] // 2], [*down, -(-down[-1] // 2)]
    assert rows % 2 == columns % 2 == 1 and all(length % 2 for length in (*up, *down))


def test_inputs_without_a_batch_are_not_tried():
    assert trials([np.zeros((), np.float32)]) == []


def test_a_size_is_too_large_if_it_would_cost_far_more_than_the_given_one():
    images = [np.broadcast_to(np.float32(0), (2, 3, 224, 224))]
    (first, *_), _, (second,) = trials(images)
    assert not first.is_too_large(images)
    assert second.is_too_large(images)


def test_drawn_inputs_lie_within_the_bounds_of_the_given_and_are_not_constant():
    inputs = [np.linspace(0, 1, 48, dtype=np.float32).reshape(1, 3, 4, 4), np.arange(9), np.ones((1, 2))]
    (trial, *_), *_ = trials(inputs)
    image, whole, constant = drawn(trial, inputs, seed=0)
    assert image.dtype == np.float32 and image.shape == (2, 3, 5, 7)
    assert 0 <= image.min() < 0.1 and 0.9 < image.max() <= 1
    assert np.array_equal(whole, inputs[1])
    assert np.ptp(constant) > 0
