"""What a configuration becomes: class weights, and the size that the model sees."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from flaxcnn import data
from flaxcnn.config import Config, ConfigError
from flaxcnn.train.setup import check_crop, class_weights_of, set_up


def archive(tmp_path, labels, size=8):
    """A data set with these labels, and a test part."""
    path = tmp_path / "mine.npz"
    images = np.random.default_rng(0).integers(0, 256, (len(labels), size, size, 3), np.uint8)
    names = [f"class {k}" for k in range(max(labels) + 1)]
    np.savez(path, x_train=images, y_train=labels, x_test=images, y_test=labels, class_names=names)
    return str(path)


def splits_of(path):
    return data.load(path, validation_fraction=0)


def test_balanced_weights_are_scikit_learns(tmp_path):
    labels = np.repeat([0, 1, 2], [30, 5, 1])
    splits = splits_of(archive(tmp_path, labels))
    found = class_weights_of(Config().replace(class_weights="balanced"), splits)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert class_weights_of(Config(), splits) is None
    np.testing.assert_array_equal(
        class_weights_of(Config().replace(class_weights=[1, 2, 3]), splits), [1, 2, 3]
    )


def test_weights_that_do_not_fit_the_classes_are_one_sentence(tmp_path):
    path = archive(tmp_path, np.array([0, 0, 2, 2]))
    with pytest.raises(
        ConfigError, match="no training image is of the class class 1; give weights as numbers"
    ):
        class_weights_of(Config().replace(class_weights="balanced"), splits_of(path))
    with pytest.raises(ConfigError, match="class_weights holds 2 numbers, but the data set has 3 classes"):
        class_weights_of(Config().replace(class_weights=[1.0, 2.0]), splits_of(path))


def test_the_model_is_made_for_the_size_after_the_crop(tmp_path):
    config = Config().replace(
        data=archive(tmp_path, np.arange(20) % 2, size=12),
        model="cnn",
        model_options={"channels": [4, 4], "hidden": 8},
        crop_size=8,
        random_resized_crop=True,
        batch_size=4,
        validation_fraction=0.0,
    )
    job = set_up(config)
    image = job.splits.test.gather(np.arange(4))[0]
    assert image.shape == (4, 12, 12, 3)
    logits = job.predict(job.train_state.params, job.train_state.state, image)
    # Only the centre is looked at: what lies outside it changes nothing, one pixel inside does.
    changed = image.copy()
    changed[:, :2] = changed[:, -2:] = changed[:, :, :2] = changed[:, :, -2:] = 7
    again = job.predict(job.train_state.params, job.train_state.state, changed)
    np.testing.assert_array_equal(logits, again)
    changed[:, 2, 2] ^= 255
    assert not np.array_equal(logits, job.predict(job.train_state.params, job.train_state.state, changed))


@pytest.mark.parametrize("shape", [(8, 8), (12, 8), (8, 12)])
def test_a_crop_larger_than_the_images_is_one_sentence(shape):
    """One side that is too short is enough; a crop as large as the shorter side fits."""
    info = data.DatasetInfo("toy", 2, ("a", "b"), (*shape, 3))
    sentence = f"crop_size is 9, but the images have {shape[0]} x {shape[1]} pixels; choose a smaller"
    with pytest.raises(ConfigError, match=sentence):
        check_crop(Config().replace(crop_size=9), info)
    check_crop(Config().replace(crop_size=8), info)


def test_a_run_asks_whether_its_crop_fits(tmp_path):
    config = Config().replace(data=archive(tmp_path, np.arange(20) % 2), crop_size=9, batch_size=4)
    with pytest.raises(ConfigError, match="crop_size is 9, but the images have 8 x 8 pixels"):
        set_up(config)
