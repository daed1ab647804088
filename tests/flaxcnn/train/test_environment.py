"""Where a figure was measured."""

import platform

import pytest

from flaxcnn.train.environment import environment, vectors


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("fpu avx f16c avx2 avx512f avx512dq", "AVX-512"),
        ("fpu avx f16c avx2 avx512ifma_of_others", "AVX2"),
        ("fp asimd evtstrm", "NEON"),
        ("", "unknown vectors"),
    ],
)
def test_the_widest_vectors_are_named(flags, expected):
    assert vectors(flags.split()) == expected


def test_it_says_what_computed():
    found = environment()
    assert found["python"] == platform.python_version()
    assert found["cores"] >= 1
    assert found["devices"][0].startswith("cpu")
    assert found["processor"]
    assert {"jax", "flax", "torch"} <= found["versions"].keys()
