"""Work in threads: in order, bounded, and ended when the caller ends."""

import threading

import pytest

from flaxcnn.data.parallel import in_order


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_the_order_is_that_of_the_items(workers):
    assert list(in_order(lambda x: x * x, range(100), workers)) == [x * x for x in range(100)]


def test_only_a_bounded_number_is_ahead():
    taken = []

    def items():
        for number in range(1000):
            taken.append(number)
            yield number

    iterator = in_order(lambda x: x, items(), 2)
    for _ in range(3):
        next(iterator)
    assert len(taken) <= 3 + 4 * 2
    iterator.close()


def test_an_error_reaches_the_caller_and_ends_the_threads():
    before = set(threading.enumerate())

    def fail(number):
        if number == 30:
            raise ValueError("thirty")
        return number

    with pytest.raises(ValueError, match="thirty"):
        list(in_order(fail, range(1000), 3))
    assert set(threading.enumerate()) == before
