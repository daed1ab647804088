"""What is taken over from trained weights, held against torch; and one sentence where they cannot be."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from flaxcnn import data, models, weights
from flaxcnn.config import Config, ConfigError
from flaxcnn.data import ArraySource, DatasetInfo, Splits
from flaxcnn.functional import functional
from flaxcnn.train import sense
from flaxcnn.train.loading import Loaded
from flaxcnn.train.run_folder import RunFolder, RunFolderError
from flaxcnn.transfer import facts
from flaxcnn.transfer.start import start
from flaxcnn.weights import WeightsError
from parity.suites.models import twins

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def net():
    """A twin in PyTorch, with statistics that are not those of a new network."""
    torch.manual_seed(3)
    twin = twins.CNN(in_channels=3, image_size=(8, 8), channels=(4, 6), hidden=8, batch_norm=True)
    for module in twin.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return twin.eval()


@pytest.fixture
def saved(net, tmp_path):
    """Its weights as a file, without a word on how images are made ready."""
    path = tmp_path / "net.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, path)
    return path


def loaded(channels, names=NAMES):
    """Nine images of nothing."""
    info = DatasetInfo("made", len(names), tuple(names), (8, 8, channels), "made up")
    source = ArraySource(np.zeros((9, 8, 8, channels), np.uint8), np.arange(9, dtype=np.int32) % 3, info)
    zeros = np.zeros(channels, np.float32)
    return Loaded(Splits(source, None, source, info), zeros, zeros + 1)


def new_model(channels=3, classes=3, **options):
    options = {"channels": (4, 6), "hidden": 8, "batch_norm": True, "dropout": 0.0} | options
    return models.cnn(image_size=8, in_channels=channels, num_classes=classes, **options)


def put(path, model, of, **settings):
    """Put the weights in; give the notes, and what is known of the data then."""
    notes = []
    settings = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.6, 0.7]} | settings
    config = Config().replace(start=str(path), model="cnn", **settings)
    return notes, start(config, notes.append)(model, of)


def test_the_head_is_new_and_everything_else_computes_what_pytorch_does(net, saved):
    model = new_model()
    fresh = functional(model).params
    notes, then = put(saved, model, loaded(3))
    assert notes == ["The head fc2 is new, for 3 classes; the start had 10."]
    np.testing.assert_array_equal(then.mean, np.float32([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(then.std, np.float32([0.5, 0.6, 0.7]))
    params = functional(model).params
    for name in ("fc2.weight", "fc2.bias"):
        np.testing.assert_array_equal(params[name], fresh[name])
    images = np.random.default_rng(0).standard_normal((4, 8, 8, 3)).astype(np.float32)
    with torch.no_grad():
        x = torch.tensor(images.transpose(0, 3, 1, 2))
        for conv, norm in ((net.conv1, net.bn1), (net.conv2, net.bn2)):
            x = net.pool(torch.relu(norm(conv(x))))
    flax = model.features(jnp.asarray(images))[-1][1]
    np.testing.assert_allclose(flax, x.numpy().transpose(0, 2, 3, 1), rtol=1e-4, atol=1e-5)
    assert model.bn1.num_batches_tracked[...] == 0


def test_the_head_is_kept_if_the_classes_are_the_same(net, saved):
    names = [f"class {number}" for number in range(10)]
    saved.with_suffix(".json").write_text(json.dumps({"classes": names}))
    model = new_model(classes=10)
    notes, _ = put(saved, model, loaded(3, names))
    assert notes == []
    np.testing.assert_array_equal(model.fc2.weight[...], net.fc2.weight.detach().numpy().T)


def test_a_checkpoint_without_a_head_gets_one(net, tmp_path):
    path = tmp_path / "headless.safetensors"
    save_file({k: v.contiguous() for k, v in net.state_dict().items() if not k.startswith("fc2.")}, path)
    notes, _ = put(path, new_model(), loaded(3))
    assert notes == ["The head fc2 is new, for 3 classes; the start had none."]


def test_a_summed_stem_sees_grey_images_as_the_old_one_saw_them_repeated(net, saved):
    """With one mean and std for all channels the two are the same network; PyTorch's is the oracle."""
    model = new_model(channels=1)
    notes, then = put(saved, model, loaded(1), stem_channels="sum", mean=[0.3], std=[0.5])
    assert notes[1] == "The first layer takes 1 channels now: the sum of its 3, in equal shares."
    np.testing.assert_array_equal(then.mean, np.float32([0.3]))
    grey = np.random.default_rng(0).standard_normal((4, 8, 8, 1)).astype(np.float32)
    with torch.no_grad():
        x = net.conv1(torch.tensor(grey.transpose(0, 3, 1, 2)).expand(-1, 3, -1, -1))
    np.testing.assert_allclose(
        model.conv1(jnp.asarray(grey)), x.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5
    )
    # Of five equal channels it sees the same; mean and std are the averages.
    model = new_model(channels=5)
    _, then = put(saved, model, loaded(5), stem_channels="sum")
    five = jnp.asarray(np.repeat(grey, 5, axis=3))
    np.testing.assert_allclose(model.conv1(five), x.numpy().transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(then.mean, np.full(5, 0.2), rtol=1e-6)
    np.testing.assert_allclose(then.std, np.full(5, 0.6), rtol=1e-6)


def test_grey_arrays_are_repeated_and_hashed_as_they_are(halves, tmp_path):
    grey, rgb = (data.load(str(halves["low"]), channels=channels) for channels in (None, 3))
    indices = np.arange(7)
    images, labels = rgb.test.gather(indices)
    expected, same = grey.test.gather(indices)
    np.testing.assert_array_equal(images, np.concatenate([expected] * 3, axis=3))
    np.testing.assert_array_equal(labels, same)
    assert rgb.info.image_shape == (8, 8, 3) and len(rgb.test) == len(grey.test)
    assert data.Fingerprint.of(rgb).content == data.Fingerprint.of(grey).content
    np.savez(tmp_path / "rgb.npz", images=np.repeat(images, 2, axis=0), labels=np.arange(14) % 2)
    with pytest.raises(
        data.DataError, match="only a folder of images is read in another way, and grey arrays as"
    ):
        data.load(str(tmp_path / "rgb.npz"), channels=1)


def test_a_checkpoint_of_torchvision_is_taken_over_whole(tmp_path):
    torch.manual_seed(0)
    reference = torchvision.models.resnet18().state_dict()
    path = tmp_path / "resnet18.safetensors"
    save_file(reference, path)
    config, notes = facts.completed({"start": str(path), "model": "resnet18", "data": "digits"})
    assert notes == [
        f"{path} does not say how images were made ready for it; as for torchvision's ImageNet weights: "
        "mean 0.485 0.456 0.406, std 0.229 0.224 0.225, image_size 224."
    ]
    assert config.transfer.mean == [0.485, 0.456, 0.406] and config.data.image_size == 224
    assert (config.data.channels, config.run.epochs, config.optimiser.learning_rate) == (3, 10, 0.01)
    model = models.resnet18(num_classes=3)
    start(config, notes.append)(model, loaded(3))
    arrays = weights.to_torch(*functional(model)[1:])
    assert arrays.keys() == reference.keys()
    for name, value in reference.items():
        if not name.startswith("fc."):
            np.testing.assert_array_equal(arrays[name], value.numpy(), err_msg=name)


def test_what_is_given_or_stands_beside_a_file_goes_before_imagenet(saved):
    said = {"mean": [0.4], "image_size": 32, "model": "cnn", "model_options": {"hidden": 8}}
    saved.with_suffix(".json").write_text(json.dumps(said))
    config, notes = facts.completed({"start": str(saved), "data": "digits", "image_size": 8, "epochs": 3})
    assert (config.model.model, config.model.model_options) == ("cnn", {"hidden": 8})
    assert (config.data.image_size, config.transfer.mean, config.run.epochs) == (8, [0.4], 3)
    assert notes == [] and config.transfer.start == str(saved)
    adam, _ = facts.completed({"start": str(saved), "data": "digits", "optimiser": "adam"})
    assert adam.optimiser.learning_rate == pytest.approx(1e-4)


def test_weights_of_a_run_say_what_a_fine_tuning_must_know(pretrained, tmp_path):
    info, mean, std = RunFolder.open(pretrained).read_data()
    found = facts.of(pretrained)
    assert (found.model, found.classes, found.image_size) == ("cnn", list(info.class_names), 8)
    np.testing.assert_allclose([found.mean, found.std], [mean, std], rtol=1e-6)
    from flaxcnn.cli import main

    path = tmp_path / "w.safetensors"
    assert main(["weights", str(pretrained), str(path)]) == 0
    assert facts.of(path) == found


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: new_model(channels=1), "are for images of 3 channels, but the images have 1; give --stem"),
        (
            lambda: new_model(hidden=9),
            "2 of their arrays do not fit (fc1.bias has shape [8] instead of [9]; ",
        ),
        (lambda: new_model(batch_norm=False), "bn1.bias is not in the model; "),
    ],
)
def test_other_architectures_are_one_sentence_that_counts_and_names_the_first(saved, make, sentence):
    model = make()
    with pytest.raises((WeightsError, ConfigError)) as error:
        put(saved, model, loaded(functional(model).params["conv1.weight"].shape[2]))
    assert sentence in str(error.value)
    assert str(error.value).endswith(".") and "\n" not in str(error.value)


def test_every_array_that_differs_is_counted(net, saved):
    """Against PyTorch's own report of what is missing and what is there too much, but for the head and counters."""
    other = twins.CifarResNet(20, width=4, num_classes=3)
    report = other.load_state_dict(net.state_dict() | other.state_dict(), strict=False)
    extra = [name for name in report.unexpected_keys if not name.startswith("fc.")]
    here = {name: value.shape for name, value in net.state_dict().items()}
    wanted = {name: value.shape for name, value in other.state_dict().items()}
    missing = [n for n in wanted.keys() - here.keys() if not n.startswith("fc.") and "num_batches" not in n]
    misshapen = [name for name in wanted.keys() & here.keys() if wanted[name] != here[name]]
    total = len(extra) + len(missing) + len(misshapen)
    with pytest.raises(WeightsError, match=f"cnn: {total} of their arrays do not fit") as error:
        put(saved, models.resnet20(width=4, num_classes=3), loaded(3))
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("beside", "given", "sentence"),
    [
        ("[]", {}, "holds no object"),
        ("{", {}, "is not JSON"),
        ('{"meen": [1]}', {}, "'meen', which is not known: did you mean mean?"),
        ('{"mean": "grey"}', {"model": "cnn"}, "mean is 'grey'; expected a list of numbers"),
        ('{"classes": 3}', {}, "expected a list of texts"),
        ("{}", {}, "do not say which model they are of; name it by --model"),
    ],
)
def test_what_stands_beside_a_file_and_cannot_be_used_is_one_sentence(saved, beside, given, sentence):
    saved.with_suffix(".json").write_text(beside)
    with pytest.raises(ConfigError) as error:
        facts.completed({"start": str(saved), "data": "digits"} | given)
    assert sentence in str(error.value)


def test_settings_of_a_start_are_refused_where_nothing_would_use_them(saved):
    for name, value in (
        ("mean", [0.5]),
        ("std", [0.5]),
        ("start_checkpoint", "best"),
        ("stem_channels", "sum"),
    ):
        with pytest.raises(ConfigError, match=rf"{name} was set to .*which only a run uses that starts from"):
            sense.check(Config().replace(**{name: value}))
        sense.check(Config().replace(start="run", **{name: value}))
    with pytest.raises(ConfigError, match=r"start_checkpoint is best, but .* is a file"):
        facts.completed({"start": str(saved), "model": "cnn", "start_checkpoint": "best"})


def test_means_for_other_channels_and_starts_that_are_not_there_are_one_sentence(saved, tmp_path):
    with pytest.raises(
        ConfigError, match="mean is 2 numbers, but the first layer of the start takes 3 channels"
    ):
        put(saved, new_model(), loaded(3), mean=[0.1, 0.2])
    with pytest.raises(WeightsError, match="There is no weights file"):
        facts.of(tmp_path / "none.safetensors")
    with pytest.raises(RunFolderError, match="is not a run folder"):
        facts.of(tmp_path)
