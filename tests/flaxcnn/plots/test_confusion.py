"""The confusion matrix: cells, counts and names, for few and many classes."""

import numpy as np
import pytest
from PIL import Image

from flaxcnn.plots import confusion_matrix
from flaxcnn.plots.confusion import draw_confusion_matrix, largest_of_blocks, most_frequent_confusions


def names(count):
    return [f"class {i}" for i in range(count)]


def random_matrix(classes, images, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, images)
    predictions = np.where(random.random(images) < 0.3, random.integers(0, classes, images), labels)
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predictions), 1)
    return matrix


def test_cells_are_shares_of_the_true_class_and_counts_are_written():
    matrix = np.array([[8, 2, 0], [0, 0, 0], [1, 0, 3]])
    figure = draw_confusion_matrix(matrix, ["a", "b", "c"])
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.8, 0.2, 0], [0, 0, 0], [0.25, 0, 0.75]])
    # text at (x, y): x is the prediction, y the true class
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "8", (1, 0): "2", (0, 2): "1", (2, 2): "3"}
    assert [t.get_text() for t in axes.get_xticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")
    assert "11 of 14 right (78.57 %)" in figure.get_suptitle()


def test_written_counts_stand_out_from_their_cells():
    axes = draw_confusion_matrix(np.array([[99, 1], [50, 50]]), ["a", "b"]).axes[0]
    for text in axes.texts:
        column, row = text.get_position()
        background = np.mean(axes.images[0].to_rgba(axes.images[0].get_array()[row, column])[:3])
        ink = 1.0 if text.get_color() == "white" else 0.13
        assert abs(background - ink) > 0.3


@pytest.mark.parametrize("classes", [1, 2, 10, 21, 100, 1000])
def test_any_number_of_classes_fits(tmp_path, classes):
    matrix = random_matrix(classes, 20 * classes)
    path = confusion_matrix(matrix, names(classes), tmp_path / "matrix.png")
    with Image.open(path) as image:
        image.load()
        assert 500 < image.size[0] < 2500 and 500 < image.size[1] < 2000


def test_many_classes_have_a_list_of_confusions():
    matrix = np.diag(np.full(30, 5))
    matrix[3, 7], matrix[9, 2] = 4, 11
    figure = draw_confusion_matrix(matrix, names(30))
    (text,) = figure.axes[1].texts
    lines = text.get_text().splitlines()
    assert [line.strip() for line in lines[3:]] == ["11 ×  class 9 → class 2", "4 ×  class 3 → class 7"]
    assert not figure.axes[0].texts


def test_above_250_classes_a_cell_is_the_largest_share_of_its_square():
    matrix = np.eye(501, dtype=np.int64) * 4
    matrix[500, 0] = 4
    axes = draw_confusion_matrix(matrix, names(501)).axes[0]
    cells = np.asarray(axes.images[0].get_array())
    assert cells.shape == (167, 167)
    assert cells[166, 0] == 0.5 and cells[0, 0] == 1.0 and cells[1, 0] == 0.0
    assert axes.images[0].get_extent() == [-0.5, 500.5, 500.5, -0.5]


def test_blocks_may_be_smaller_at_the_end():
    shares = np.arange(25.0).reshape(5, 5)
    np.testing.assert_array_equal(largest_of_blocks(shares, 2), [[6, 8, 9], [16, 18, 19], [21, 23, 24]])


def test_the_most_frequent_confusions_leave_out_the_diagonal_and_zeros():
    matrix = np.array([[90, 1, 0], [5, 80, 2], [0, 0, 70]])
    assert most_frequent_confusions(matrix, 10) == [(1, 0, 5), (1, 2, 2), (0, 1, 1)]
    assert most_frequent_confusions(matrix, 1) == [(1, 0, 5)]
    assert matrix[0, 0] == 90


def test_no_images_are_said():
    assert "no images" in draw_confusion_matrix(np.zeros((2, 2), np.int64), ["a", "b"]).get_suptitle()


@pytest.mark.parametrize(("shape", "count"), [((2, 3), 2), ((3, 3), 2), ((0, 0), 0)])
def test_a_matrix_that_does_not_fit_is_refused(shape, count):
    with pytest.raises(ValueError, match=r"confusion matrix has shape .* class names"):
        draw_confusion_matrix(np.zeros(shape, np.int64), names(count))
