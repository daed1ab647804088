"""Training from Python, held against scikit-learn: its digits, its metrics, its way of naming classes."""

import gc
import json
import signal

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

import flaxcnn
from flaxcnn.cli.main import main
from flaxcnn.data import ArraySource, DatasetInfo
from flaxcnn.errors import FlaxcnnError

WORDS = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
TINY = {"model": "cnn", "model_options": {"channels": [8, 16]}}
SMALL = TINY | {"epochs": 1, "batch_size": 32}


def digits():
    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) / 16).astype(np.float32), labels


@pytest.fixture(scope="module")
def parts():
    """700 images to train on and 300 others, with texts as labels."""
    images, labels = digits()
    return images[:700], WORDS[labels[:700]], images[700:1000], WORDS[labels[700:1000]]


@pytest.fixture(scope="module")
def fitted(parts, tmp_path_factory):
    """A model that has learnt, by a call in an empty folder that stays empty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("elsewhere"))
        before = signal.getsignal(signal.SIGINT), np.random.get_state()[1].tolist()
        model = flaxcnn.fit(parts[0], parts[1], **TINY, epochs=8, batch_size=32, seed=1)
        assert before == (signal.getsignal(signal.SIGINT), np.random.get_state()[1].tolist())
        assert list((tmp_path_factory.getbasetemp() / "elsewhere0").iterdir()) == []
    return model


@pytest.mark.slow
def test_it_learns_and_its_figures_are_those_of_scikit_learn(fitted, parts):
    images, labels = parts[2:]
    result, chances, predicted = (
        fitted.evaluate(images, labels),
        fitted.probabilities(images),
        fitted.predict(images),
    )
    assert result.accuracy > 0.85
    assert result.accuracy == accuracy_score(labels, predicted)
    assert result.loss == pytest.approx(log_loss(labels, chances, labels=fitted.classes), rel=1e-5)
    assert (result.confusion == confusion_matrix(labels, predicted, labels=fitted.classes)).all()
    assert fitted.classes.tolist() == sorted(WORDS)
    assert chances.shape == (300, 10) and np.allclose(chances.sum(axis=1), 1)


@pytest.mark.slow
def test_the_history_has_every_epoch_and_the_held_out_images(fitted):
    assert [record["epoch"] for record in fitted.history] == list(range(1, 9))
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]
    assert fitted.history[-1]["validation_accuracy"] > 0.8
    assert fitted.config.optimiser.learning_rate == 0.1


@pytest.mark.slow
def test_images_may_have_other_layouts_and_numbers(fitted, parts):
    images = parts[2][:70]
    expected = fitted.probabilities(images)
    assert (fitted.probabilities(images[..., None].astype(np.float64)) == expected).all()
    assert (fitted.probabilities(images[:1]) == expected[:1]).all()
    before = fitted.trained.predict.compilations
    fitted.probabilities(images[:5])
    assert fitted.trained.predict.compilations == before
    info = DatasetInfo("digits", 10, tuple(fitted.classes), (8, 8, 1))
    numbers = np.searchsorted(fitted.classes, parts[3][:70])
    source = ArraySource(images[..., None], numbers, info)
    assert (fitted.probabilities(source) == expected).all()
    assert fitted.evaluate(source).accuracy == fitted.evaluate(images, parts[3][:70]).accuracy


@pytest.mark.slow
def test_what_is_saved_is_what_is_loaded(fitted, parts, tmp_path, capsys):
    folder = fitted.save(tmp_path / "new" / "run")
    loaded = flaxcnn.load(folder)
    assert (loaded.probabilities(parts[2]) == fitted.probabilities(parts[2])).all()
    assert loaded.classes.dtype == fitted.classes.dtype and (loaded.classes == fitted.classes).all()
    assert (loaded.history, loaded.config) == (fitted.history, fitted.config)
    assert (loaded.save(tmp_path / "again") / "summary.json").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "new"]
    with pytest.raises(FlaxcnnError, match="is used already"):
        fitted.save(folder)
    picture = tmp_path / "digit.png"
    Image.fromarray((parts[2][0] * 255).astype(np.uint8)).save(picture)
    assert main(["predict", "--run", str(folder), "--top", "1", str(picture)]) == 0
    assert str(loaded.predict(parts[2][:1])[0]) in capsys.readouterr().out
    assert main(["eval", str(folder)]) == 1
    assert "were given in Python and are not stored" in capsys.readouterr().err


@pytest.mark.slow
def test_labels_are_given_back_as_they_were_and_the_folder_goes_with_the_object(tmp_path):
    images, labels = digits()
    images, labels = images[:120], labels[:120] * 10 - 7
    model = flaxcnn.fit(images, labels, validation=(images[:40], labels[:40]), **SMALL)
    assert model.classes.tolist() == [10 * k - 7 for k in range(10)]
    assert set(model.predict(images)) <= set(labels)
    assert flaxcnn.load(model.save(tmp_path / "run")).predict(images[:3]).dtype == labels.dtype
    path = model._folder.path
    assert path.exists()
    del model
    gc.collect()
    assert not path.exists()


class Squares:
    """The least that a source is: bright and dark squares."""

    info = DatasetInfo("squares", 2, ("dark", "bright"), (8, 8, 3))

    def __len__(self):
        return 64

    def gather(self, indices):
        """Images of 50 and of 200, in turn."""
        labels = (indices % 2).astype(np.int32)
        return np.broadcast_to((50 + 150 * labels)[:, None, None, None], (len(indices), 8, 8, 3)).astype(
            np.uint8
        ), labels


@pytest.mark.slow
def test_any_source_is_trained_on_and_out_is_a_run_folder(tmp_path):
    out = tmp_path / "run"
    model = flaxcnn.fit(
        Squares(), validation=Squares(), recipe="digits", out=str(out), rotate=0.0, **SMALL | {"epochs": 3}
    )
    assert model.config.loss.label_smoothing == 0.1  # of the recipe
    assert model.config.augment.rotate == 0.0
    assert model.classes.tolist() == ["dark", "bright"]
    assert model.evaluate(Squares()).accuracy == 1.0
    assert json.loads((out / "summary.json").read_text())["validation_accuracy"] == 1.0
    assert flaxcnn.load(out, "best").predict(Squares())[:2].tolist() == ["dark", "bright"]


@pytest.mark.slow
def test_images_are_resized_as_in_the_training():
    images, labels = digits()
    model = flaxcnn.fit(images[:100], labels[:100], image_size=12, **SMALL)
    assert model.trained.info.image_shape == (12, 12, 1)
    assert model.probabilities(images[:3]).shape == (3, 10)


IMAGES, LABELS = np.zeros((8, 8, 8, 1), np.uint8), np.arange(8) % 2


@pytest.mark.parametrize(
    ("arguments", "settings", "sentence"),
    [
        ((IMAGES,), {}, "without labels"),
        ((IMAGES, LABELS[:7]), {}, "8 images but 7 labels"),
        ((IMAGES, LABELS * 0), {}, "hold 1 class; expected at least two"),
        ((IMAGES, LABELS / 2), {}, "expected one whole number or text"),
        ((IMAGES, LABELS[:, None]), {}, "expected one whole number or text"),
        ((IMAGES, [None] * 8), {}, "expected one whole number or text"),
        ((IMAGES.astype(np.int64), LABELS), {}, "images|arrays has shape .* type int64; expected"),
        ((IMAGES[0, 0], LABELS), {}, r"expected \[n h w c\]"),
        ((np.zeros((8, 3, 8, 8), np.uint8), LABELS), {}, r"looks like \[n c h w\]"),
        ((IMAGES + np.float32(7), LABELS), {}, r"outside \[0, 1\]"),
        ((IMAGES + np.float32("nan"), LABELS), {}, "pixels"),
        ((Squares(), LABELS), {}, "together with labels"),
        ((IMAGES, LABELS), {"validation": IMAGES}, "validation is a ndarray; expected"),
        ((Squares(),), {"validation": (IMAGES, LABELS)}, "expected a source, as the training images are"),
        (
            (IMAGES, LABELS),
            {"validation": (IMAGES, LABELS + 1)},
            "holds the label 2 at position 1, which is not among",
        ),
        ((IMAGES, LABELS), {"validation": (IMAGES, WORDS[LABELS])}, "holds the label 'zero' at position 0"),
        ((IMAGES, LABELS), {"validation": (IMAGES[:, :4], LABELS)}, "validation images have shape"),
        ((IMAGES, LABELS), {"batch_size": 64}, "batch size is 64"),
        ((IMAGES, LABELS), {"epoch": 3}, "no setting 'epoch': did you mean epochs"),
        ((IMAGES, LABELS), {"recipe": "digit"}, "no recipe named 'digit'"),
        ((IMAGES, LABELS), {"data": "digits"}, "data was given to fit"),
        ((IMAGES, LABELS), {"label_smoothing": 1.0}, "label_smoothing is 1"),
        ((IMAGES, LABELS), {"cutout": 9, "batch_size": 4}, "cutout is 9"),
    ],
)
def test_what_cannot_be_used_is_one_sentence(arguments, settings, sentence):
    with pytest.raises(FlaxcnnError, match=sentence) as caught:
        flaxcnn.fit(*arguments, model="cnn", **settings)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_the_same_of_predictions(fitted):
    for images, sentence in (
        (np.zeros((2, 9, 9)), r"have shape \(9, 9, 1\); expected \(8, 8, 1\)"),
        (np.zeros((2, 8, 8, 3)), "have shape"),
        (np.full((2, 8, 8), 3.0), r"outside \[0, 1\]"),
        (np.zeros((0, 8, 8)), "no image"),
    ):
        with pytest.raises(FlaxcnnError, match=sentence):
            fitted.predict(images)
    with pytest.raises(
        FlaxcnnError, match="the label 'ten' at position 1, which is not among the 10 classes"
    ):
        fitted.evaluate(np.zeros((2, 8, 8)), ["one", "ten"])
    with pytest.raises(FlaxcnnError, match="without labels"):
        fitted.evaluate(np.zeros((2, 8, 8)))
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        flaxcnn.fitt  # noqa: B018


@pytest.mark.slow
def test_a_run_of_the_command_is_loaded(tmp_path):
    images, _ = digits()
    flags = ["--model", "cnn", "--model-options", "channels=[8,16]", "--epochs", "1", "--no-tensorboard"]
    assert main(["train", *flags, "--no-pictures", "--out", str(tmp_path / "run")]) == 0
    model = flaxcnn.load(tmp_path / "run", "best")
    assert model.classes.tolist() == [str(digit) for digit in range(10)]
    assert model.predict(images[:4]).dtype.kind == "U"
    assert len(model.history) == 1


@pytest.mark.slow
def test_an_interrupt_is_one_and_leaves_nothing(parts, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ring = iter([False] * 5 + [True] * 1000)

    class Interrupting(Squares):
        def gather(self, indices):
            if next(ring):
                signal.raise_signal(signal.SIGINT)
            return super().gather(indices)

    with pytest.raises(KeyboardInterrupt):
        flaxcnn.fit(Interrupting(), validation_fraction=0.0, workers=0, **SMALL | {"epochs": 50})
    assert list(tmp_path.iterdir()) == []
