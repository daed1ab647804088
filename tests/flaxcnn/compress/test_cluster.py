"""Weight sharing against scikit-learn, and the file that it is for."""

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.cluster import KMeans

from flaxcnn.compress import storage
from flaxcnn.compress.cluster import assigned, clustered, kmeans


def test_centres_and_assignment_are_scikit_learns():
    values = np.random.default_rng(0).normal(size=400)
    start = np.linspace(values.min(), values.max(), 8)
    twin = KMeans(8, init=start[:, None], n_init=1, max_iter=300, tol=0.0, algorithm="lloyd").fit(
        values[:, None]
    )
    centres = kmeans(values, 8)
    np.testing.assert_allclose(centres, twin.cluster_centers_[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(assigned(values, centres), twin.predict(values[:, None]))


def test_a_kernel_shares_values_and_keeps_its_zeros():
    kernel = np.random.default_rng(1).normal(size=(3, 3, 4, 6)).astype(np.float32)
    kernel[np.abs(kernel) < 0.5] = 0
    vector = jnp.arange(50, dtype=jnp.float32)
    found = clustered({"a.weight": jnp.asarray(kernel), "a.bias": vector}, 16)
    shared = np.asarray(found["a.weight"])
    np.testing.assert_array_equal(shared == 0, kernel == 0)
    assert 10 < len(np.unique(shared)) <= 17
    assert np.abs(shared - kernel).max() < 0.5 * (kernel.max() - kernel.min()) / 15 * 2
    np.testing.assert_array_equal(found["a.bias"], vector)


def _odd_arrays():
    draw = np.random.default_rng(2)
    sparse = draw.normal(size=(8, 4, 3, 3)).astype(np.float32)
    sparse[np.abs(sparse) < 1.2] = 0
    return {
        "plain": draw.normal(size=(5, 7)).astype(np.float32),
        "sparse": sparse,
        "shared": draw.choice(np.float32([-1.5, 0.25, 3.0]), (40, 30)),
        "odd": np.array([0.0, -0.0, np.nan, np.inf, 1e-45], np.float32),
        "counter": np.array(7, np.int64),
        "empty": np.zeros((0, 3), np.float32),
        "zeros": np.zeros((6, 6), np.float32),
    }


def test_what_is_stored_is_read_bit_for_bit(tmp_path):
    arrays = _odd_arrays()
    path = tmp_path / "file.xz"
    size = storage.write(path, arrays)
    assert path.stat().st_size == size
    found = storage.unpacked(path.read_bytes())
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes(), name


def test_the_same_weights_give_the_same_bytes():
    """safetensors orders several entries of metadata anew each time."""
    assert len({storage.packed(_odd_arrays()) for _ in range(5)}) == 1


def test_shared_and_sparse_weights_take_fewer_bytes():
    draw = np.random.default_rng(3)
    kernel = draw.normal(size=(64, 64, 3, 3)).astype(np.float32)
    values = draw.choice(draw.normal(size=16).astype(np.float32), kernel.shape)
    sparse = np.where(draw.uniform(size=kernel.shape) < 0.9, np.float32(0), kernel)
    whole = kernel.nbytes
    assert len(storage.packed({"w": kernel})) > 0.85 * whole
    # Four bits instead of 32, and at most a tenth of the values with the places of the others (0.47 bits each).
    assert len(storage.packed({"w": values})) < 1.1 * whole / 8
    assert len(storage.packed({"w": sparse})) < 0.13 * whole


@pytest.mark.parametrize("damage", [lambda content: content[:-9], lambda content: b"x" + content])
def test_a_damaged_file_is_one_sentence(damage):
    with pytest.raises(storage.StorageError, match="damaged"):
        storage.unpacked(damage(storage.packed(_odd_arrays())))
