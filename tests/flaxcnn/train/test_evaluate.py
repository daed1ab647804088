"""Evaluation against scikit-learn, over any split size and batch size."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from flaxcnn import data
from flaxcnn.train.evaluate import evaluate, probabilities
from flaxcnn.train.metrics import CALIBRATION_BINS, Accumulator


def a_source(count, classes, seed):
    """Images whose pixels are the logits, so that the evaluation's arithmetic is all there is."""
    rng = np.random.default_rng(seed)
    images = rng.uniform(size=(count, 1, 1, classes)).astype(np.float32)
    labels = rng.integers(0, classes, count)
    info = data.DatasetInfo("toy", classes, tuple(map(str, range(classes))), (1, 1, classes))
    return data.ArraySource(images, labels, info), images.reshape(count, classes) * 8, labels


def pixels_are_logits(params, state, images):
    return np.asarray(images).reshape(len(images), -1) * 8


@given(st.integers(1, 70), st.integers(2, 12), st.integers(1, 80), st.integers(0, 5))
@settings(max_examples=25)
def test_metrics_are_scikit_learns_whatever_the_batch_size(count, classes, batch_size, seed):
    source, logits, labels = a_source(count, classes, seed)
    found = evaluate(pixels_are_logits, {}, {}, source, batch_size=batch_size)
    chances = probabilities(logits)
    every = np.arange(classes)
    assert found.count == count
    assert found.accuracy == pytest.approx(
        sklearn_metrics.accuracy_score(labels, logits.argmax(1)), abs=1e-12
    )
    assert found.loss == pytest.approx(sklearn_metrics.log_loss(labels, chances, labels=every), rel=1e-6)
    expected = sklearn_metrics.confusion_matrix(labels, logits.argmax(1), labels=every)
    np.testing.assert_array_equal(found.confusion, expected)
    if classes > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(labels, logits, k=5, labels=every)
        assert found.top5_accuracy == pytest.approx(top5, abs=1e-12)
    else:
        assert found.top5_accuracy == 1.0


@given(st.integers(0, 40), st.integers(2, 6), st.integers(0, 10))
@settings(max_examples=40)
def test_precision_recall_and_f1_are_scikit_learns(count, classes, seed):
    # Few examples of many classes: some are never seen, some never predicted, some neither.
    rng = np.random.default_rng(seed)
    labels, predictions = rng.integers(0, classes, (2, count + 1))
    accumulator = Accumulator(classes)
    accumulator.add(np.eye(classes)[predictions], labels, np.ones(count + 1, bool))
    found = accumulator.result()
    every = np.arange(classes)
    score = sklearn_metrics.precision_recall_fscore_support
    *expected, support = score(labels, predictions, labels=every, zero_division=0)
    for row, values in zip(expected, (found.precision, found.recall, found.f1), strict=True):
        np.testing.assert_allclose(values, row, atol=1e-15)
    np.testing.assert_array_equal(found.support, support)
    for kind in ("macro", "weighted"):
        *means, _ = score(labels, predictions, labels=every, zero_division=0, average=kind)
        np.testing.assert_allclose(list(found.averages(kind).values()), means, atol=1e-14)
    rows = found.by_class([f"class {k}" for k in every])
    assert [row["images"] for row in rows.values()] == support.tolist()
    for name, values in zip(("precision", "recall", "f1"), expected, strict=True):
        np.testing.assert_allclose([row[name] for row in rows.values()], values, atol=1e-15)


def test_the_means_of_no_example_are_no_number():
    means = Accumulator(3).result().averages("weighted")
    assert np.isnan(list(means.values())).all()


def test_per_class_accuracy_is_recall_and_nan_for_an_absent_class():
    accumulator = Accumulator(3)
    logits = np.eye(3)[[0, 0, 1, 1]] * 5
    accumulator.add(logits, np.array([0, 0, 0, 1]), np.ones(4, bool))
    recall = accumulator.result().per_class_accuracy
    np.testing.assert_allclose(recall[:2], [2 / 3, 1.0])
    assert np.isnan(recall[2])


def test_calibration_error_is_the_definition(rng=np.random.default_rng(0)):
    logits, labels = rng.normal(size=(500, 4)) * 3, rng.integers(0, 4, 500)
    accumulator = Accumulator(4)
    accumulator.add(logits, labels, np.ones(500, bool))
    chances = probabilities(logits)
    confidence, right = chances.max(1), chances.argmax(1) == labels
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    expected = 0.0
    for low, high in itertools.pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert accumulator.result().calibration_error == pytest.approx(expected, rel=1e-9)
