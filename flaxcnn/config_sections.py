"""The sections of the configuration: what can be set, with its default and the help text of its flag.

Imports nothing heavy. Field names are unique over all sections.
"""

import dataclasses
from typing import Any


def field(default: Any, description: str, *, shown: str | None = None) -> Any:
    """A dataclass field with its description, which becomes the help text of its flag; `shown` words the default."""
    metadata = {"help": description, "shown": shown}
    if isinstance(default, dict | list):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


# Learning rate and weight decay where none are given: sgd's are those of He et al. 2015 and of the Wide ResNets,
# rmsprop's rate is Keras's (PyTorch's is 0.01), and the others are PyTorch's.
BY_OPTIMISER: dict[str, tuple[float, float]] = {
    "sgd": (0.1, 5e-4),
    "adam": (1e-3, 0.0),
    "adamw": (1e-3, 1e-2),
    "rmsprop": (1e-3, 0.0),
}


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Which model, and its options."""

    model: str = field("resnet20", "name of the model, see `flaxcnn models`")
    model_options: dict[str, Any] = field(
        {}, "options of the model as KEY=VALUE, for example width=32 or stem=plain (repeatable)"
    )


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images, and how they are divided."""

    data: str = field(
        "digits",
        "the path of a folder with a folder of images for each class, or of an .npz file; or digits, mnist, "
        "fashion_mnist, cifar10, cifar100 or tfds:NAME",
    )
    data_dir: str | None = field(None, "folder of the data set, if it is not in a default folder")
    image_size: int | None = field(None, "resize the images to this many pixels a side")
    split_seed: int = field(0, "seed of the division into training, validation and test images")
    validation_fraction: float = field(0.1, "share of the training images kept for validation")
    test_fraction: float = field(0.2, "share kept for the test, where the data set has no test split")
    workers: int = field(2, "threads that read and decode images")
    channels: int | None = field(
        None,
        "1 reads a folder grey, 3 as RGB; if not given, RGB unless every image is grey; 3 makes grey arrays RGB",
    )
    max_value: int | None = field(
        None, "of a folder: the grey value of 16-bit files that becomes white; if not given, by their largest"
    )
    skip_damaged: bool = field(False, "of a folder: leave out images that cannot be decoded")
    sampling: str = field(
        "uniform", "uniform: every image once an epoch; balanced: every class equally likely"
    )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
    """Random changes of the training images, made on the device."""

    crop_padding: int = field(0, "pixels of zero padding before a random crop back to size")
    flip: bool = field(False, "mirror left and right with probability one half")
    rotate: float = field(0.0, "rotate by a random angle of at most this many degrees")
    vertical_flip: bool = field(False, "mirror top and bottom with probability one half")
    crop_size: int | None = field(
        None,
        "side in pixels of what the model sees: a random crop in training, the centre in evaluation; "
        "image_size is the size before the crop",
    )
    random_resized_crop: bool = field(
        False, "crop a box of random area and shape and resize it to crop_size, or to the images' own size"
    )
    crop_scale: list[float] = field([0.08, 1.0], "bounds of that box's area, as a share of the image's")
    crop_ratio: list[float] = field([0.75, 1.3333], "bounds of that box's width divided by its height")
    policy: str = field(
        "none", "none, trivial (TrivialAugment: one operation an image) or rand (RandAugment: several)"
    )
    rand_operations: int = field(2, "operations an image (RandAugment)")
    rand_magnitude: int = field(9, "strength of every operation, 0 to 30 (RandAugment)")
    erasing: float = field(0.0, "probability of setting a random box to the mean colour")
    cutout: int = field(0, "side in pixels of a square set to zero at a random position")
    brightness: float = field(0.0, "change the brightness by a random factor within 1 +- this")
    contrast: float = field(0.0, "the same for the contrast")
    saturation: float = field(0.0, "the same for the saturation")
    hue: float = field(0.0, "turn the hue by a random part of a full turn within +- this, at most 0.5")
    mixup: float = field(0.0, "alpha of mixup's Beta distribution; 0 is off")
    cutmix: float = field(0.0, "alpha of cutmix's Beta distribution; 0 is off")


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The objective: cross-entropy and the terms added to it."""

    class_weights: list[float] | str | None = field(
        None, "weight of each class in the loss, in the order of the classes, or balanced: by how rare it is"
    )
    label_smoothing: float = field(0.0, "share of every label spread evenly over the classes")
    l1: float = field(0.0, "weight of the sum of absolute parameters")
    l2: float = field(0.0, "weight of the sum of squared parameters (weight_decay is the optimiser's own)")


@dataclasses.dataclass(frozen=True)
class OptimiserConfig:
    """The optimiser and its schedule, with PyTorch's update rules."""

    optimiser: str = field("sgd", "sgd, adam, adamw or rmsprop")
    learning_rate: float | None = field(
        None, "peak learning rate", shown="by optimiser: 0.1 sgd; 0.001 adam, adamw, rmsprop"
    )
    momentum: float = field(0.9, "momentum (sgd, rmsprop)")
    nesterov: bool = field(True, "Nesterov momentum (sgd)")
    dampening: float = field(0.0, "dampening of the momentum (sgd)")
    beta1: float = field(0.9, "decay of the mean gradient (adam, adamw)")
    beta2: float = field(0.999, "decay of the mean squared gradient (adam, adamw)")
    epsilon: float = field(1e-8, "added to the root of the mean squared gradient (adam, adamw, rmsprop)")
    alpha: float = field(0.99, "decay of the mean squared gradient (rmsprop)")
    weight_decay: float | None = field(
        None,
        "weight decay: coupled in sgd, adam and rmsprop, decoupled in adamw",
        shown="by optimiser: 0.0005 sgd; 0.01 adamw; 0 adam, rmsprop",
    )
    decay_norm_and_bias: bool = field(False, "decay batch-norm parameters and biases too, as PyTorch does")
    schedule: str = field("one_cycle", "constant, step, multistep, exponential, linear, cosine or one_cycle")
    warmup_epochs: float = field(0.0, "epochs of linear warm-up before the schedule")
    step_epochs: float = field(30.0, "epochs between two decays (step)")
    milestone_epochs: list[float] = field([15.0, 25.0], "epochs of the decays (multistep)")
    gamma: float = field(0.1, "factor of a decay (step, multistep; exponential: per epoch)")
    one_cycle_warmup: float = field(0.3, "share of the run in which the rate rises (one_cycle)")
    clip_norm: float | None = field(None, "clip the norm of the whole gradient to this")
    clip_value: float | None = field(None, "clip every element of the gradient to this")
    ema_decay: float = field(
        0.0, "decay of an exponential moving average of the weights, used to evaluate; 0 is off"
    )
    accumulate: int = field(
        1, "compute the gradient of a batch in this many parts, one after another, to save memory"
    )
    keep_zeros: bool = field(
        False, "kernel weights that are 0 when the run begins stay 0, as those of a pruned network"
    )


@dataclasses.dataclass(frozen=True)
class TransferConfig:
    """Weights to start from, which of them are trained, and how fast (`flaxcnn finetune`)."""

    start: str | None = field(None, "run folder or safetensors file whose weights are the start")
    start_checkpoint: str = field("last", "of a run folder: last, best, or best-2 and so on")
    stem_channels: str = field(
        "repeat",
        "images with other channels than the start's: repeat makes grey images RGB, sum adapts the first kernels",
    )
    mean: list[float] | None = field(
        None, "mean of each channel that the start was trained with, in [0, 1]", shown="the start's"
    )
    std: list[float] | None = field(
        None, "standard deviation of each channel that the start was trained with", shown="the start's"
    )
    freeze: list[str] = field(
        [], "patterns of parameters or modules that are not trained, such as 'layer1.*', or all-but-head"
    )
    thaw: list[str] = field([], "EPOCH:PATTERN, train from then on what was frozen, such as 3:layer4")
    rates: list[str] = field(
        [], "PATTERN=RATE, peak learning rate of some parameters, such as 'layer4.*=0.01'"
    )
    layer_decay: float = field(1.0, "factor of the learning rate from each stage to the one before it")


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The length of the run, its precision and seed, and its output."""

    epochs: int = field(60, "passes over the training images")
    batch_size: int = field(64, "images a step")
    seed: int = field(0, "seed of weights, order, augmentation and dropout")
    early_stopping: int = field(0, "stop after this many epochs without a better validation; 0 is off")
    keep_best: int = field(1, "number of best checkpoints to keep: best, best-2, ...")
    precision: str = field("float32", "float32, bfloat16 (compute), or tensorfloat32 (matrix units)")
    fast_rules: bool = field(True, "on a CPU, compute convolutions by the fast rules of flaxcnn.ops")
    out: str | None = field(None, "run folder, new or empty; runs/DATA-MODEL-TIME if not given")
    tensorboard: bool = field(True, "write TensorBoard events")
    pictures: bool = field(True, "draw curves, confusion matrix, wrong images, filters and feature maps")
