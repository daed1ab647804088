"""Small networks of the families that are often ported: the hosts of planted defects."""

import dataclasses
from collections.abc import Callable

from experiments.instrument.defects import pieces as p
from experiments.instrument.defects.graph import Builder, Graph

CLASSES = 5


@dataclasses.dataclass(frozen=True)
class Host:
    """A network and its input.

    Attributes:
        name: the name of the host.
        graph: builds the network.
        shape: the shape of the input, [n, c, h, w].
        held_out: whether its figures are shown separately. The rules of diagnosis must not be fitted to such a host.
    """

    name: str
    graph: Callable[[], Graph]
    shape: tuple[int, int, int, int] = (4, 3, 12, 12)
    held_out: bool = False


def vgg() -> Graph:
    """A constant scale, convolutions with biases and ReLU, max pooling, a flatten, dense layers with dropout."""
    b = Builder()
    b.add("scale", "constant", channels=3, trained=False, image=True)
    p.conv(b, "conv1", 3, 4, bias=True)
    b.act("relu")
    p.conv(b, "conv2", 4, 6, 5, stride=2, bias=True)
    p.max_pool(b, 3, 2, 1)
    b.act("relu")
    p.conv(b, "conv3", 6, 6, bias=True)
    b.act("relu")
    p.conv(b, "conv4", 6, 6, dilation=2, bias=True)
    b.act("relu")
    b.add("flatten")
    p.linear(b, "fc1", 54, 8)
    b.act("relu")
    b.add("dropout", "dropout", rate=0.2)
    p.linear(b, "fc2", 8, 8)
    b.act("relu")
    p.linear(b, "fc3", 8, CLASSES)
    return b.graph()


def bare() -> Graph:
    """Convolutions, ReLU and dense layers without biases: a channel whose weights are zero ties at every ReLU."""
    b = Builder()
    p.conv(b, "conv1", 3, 4)
    b.act("relu")
    p.conv(b, "conv2", 4, 4, stride=2)
    b.act("relu")
    b.add("flatten")
    p.linear(b, "fc1", 144, 6, bias=False)
    b.act("relu")
    p.linear(b, "fc2", 6, CLASSES, bias=False)
    return b.graph()


def _residual(stride: int, inputs: int, outputs: int, *, bottleneck: bool, groups: int = 1) -> Graph:
    b = Builder()
    if bottleneck:
        inner = outputs // 2
        p.conv_norm(b, "conv1", inputs, inner, 1)
        b.act("relu")
        p.conv_norm(b, "conv2", inner, inner, 3, stride=stride, groups=groups)
        b.act("relu")
        main = p.conv_norm(b, "conv3", inner, outputs, 1)
    else:
        p.conv_norm(b, "conv1", inputs, outputs, 3, stride=stride)
        b.act("relu")
        main = p.conv_norm(b, "conv2", outputs, outputs, 3)
    shortcut = "x"
    if stride > 1 or inputs != outputs:
        p.conv(b, "down", inputs, outputs, 1, stride=stride, of="x")
        shortcut = p.batch_norm(b, "down_bn", outputs)
    b.add("add", "sum", (main, shortcut))
    b.act("relu")
    return b.graph()


def _resnet(*, bottleneck: bool, groups: int = 1, ceil: bool = False) -> Graph:
    b = Builder()
    p.conv_norm(b, "stem", 3, 8, 3)
    if ceil:
        b.act("relu")
    # Without a ReLU on either side, as here, padding with zeros is not the same as padding with -inf.
    p.max_pool(b, 3, 2, 0 if ceil else 1, ceil=ceil)
    for name, stride in (("block1", 1), ("block2", 2)):
        block = _residual(stride, 8, 8, bottleneck=bottleneck, groups=groups)
        b.add("block", name, graph=block)
    b.add("mean")
    p.linear(b, "fc", 8, CLASSES)
    return b.graph()


def resnet_basic() -> Graph:
    """A stem with max pooling in ceil mode and two basic blocks."""
    return _resnet(bottleneck=False, ceil=True)


def resnet_bottleneck() -> Graph:
    """Two bottlenecks that stride in the 3x3."""
    return _resnet(bottleneck=True)


def resnext() -> Graph:
    """Two bottlenecks with grouped convolutions."""
    return _resnet(bottleneck=True, groups=2)


def _inverted(stride: int, act: str) -> Graph:
    b = Builder()
    p.conv_norm(b, "expand", 6, 8, 1)
    b.act(act)
    p.conv_norm(b, "depthwise", 8, 8, 3, stride=stride, groups=8)
    features = b.act(act)
    b.add("mean")
    p.linear(b, "squeeze", 8, 6)
    b.act("relu")
    p.linear(b, "excite", 6, 8)
    b.act("hard_sigmoid")
    gate = b.add("to_image")
    b.add("multiply", "gated", (features, gate))
    out = p.conv_norm(b, "project", 8, 6, 1)
    if stride == 1:
        b.add("add", "sum", (out, "x"))
    return b.graph()


def mobilenet() -> Graph:
    """Inverted residuals: depthwise convolutions, ReLU6, hard-swish, squeeze and excitation."""
    b = Builder()
    p.conv_norm(b, "stem", 3, 6, 3, stride=2)
    b.act("hard_swish")
    b.add("block", "block1", graph=_inverted(1, "relu6"))
    b.add("block", "block2", graph=_inverted(2, "hard_swish"))
    p.conv_norm(b, "last", 6, 8, 1)
    b.act("relu6")
    b.add("mean")
    p.linear(b, "fc", 8, CLASSES)
    return b.graph()


def _next_block() -> Graph:
    b = Builder()
    p.conv(b, "depthwise", 8, 8, 7, groups=8, bias=True)
    b.add("to_last")
    p.layer_norm(b, "norm", 8)
    p.linear(b, "expand", 8, 12)
    b.act("gelu")
    p.linear(b, "project", 12, 8)
    b.add("scale", "gamma", channels=8)
    out = b.add("to_first")
    b.add("add", "sum", (out, "x"))
    return b.graph()


def convnext() -> Graph:
    """Depthwise 7x7 convolutions, layer norm, GELU, layer scale."""
    b = Builder()
    p.conv(b, "stem", 3, 8, 2, stride=2, padding=0, bias=True)
    b.add("block", "block1", graph=_next_block())
    p.conv(b, "down", 8, 8, 3, stride=2, bias=True)
    b.add("block", "block2", graph=_next_block())
    b.add("mean")
    p.layer_norm(b, "norm", 8)
    p.linear(b, "fc", 8, CLASSES)
    return b.graph()


def unet() -> Graph:
    """A U-Net: pooling, a transposed convolution, resizing, concatenation, group norm; the output is an image."""
    b = Builder()
    p.conv(b, "down1", 3, 4, bias=True)
    p.group_norm(b, "norm1", 2, 4)
    fine = b.act("silu")
    p.avg_pool(b, 3, 2, 1)
    p.conv(b, "down2", 4, 6, bias=True)
    p.group_norm(b, "norm2", 2, 6)
    middle = b.act("silu")
    p.resize(b, 0.5)
    p.conv(b, "bottom", 6, 6, bias=True)
    b.act("silu")
    resized = p.resize(b, 2.0)
    b.add("concat", "joined2", (middle, resized))
    p.conv(b, "up2", 12, 6, bias=True)
    b.act("silu")
    options = {"kernel": 3, "stride": 2, "padding": 1, "output_padding": 1, "bias": True}
    up = b.add("conv_transpose", "up", inputs=6, outputs=4, **options)
    b.add("concat", "joined1", (fine, up))
    p.conv(b, "up1", 8, 4, bias=True)
    b.act("relu")
    p.resize(b, 1.5, corners=True)
    p.conv(b, "out", 4, 2, 1, bias=True)
    return b.graph()


def _dense_block(inputs: int) -> Graph:
    b = Builder()
    for index in (1, 2):
        before = b.at
        p.batch_norm(b, f"norm{index}", inputs + 4 * (index - 1))
        b.act("relu")
        new = p.conv(b, f"conv{index}", inputs + 4 * (index - 1), 4)
        b.add("concat", f"joined{index}", (before, new))
    return b.graph()


def densenet() -> Graph:
    """Norm, ReLU and convolution, concatenated; average pooling between; mean and std in the head."""
    b = Builder()
    p.conv(b, "stem", 3, 4)
    b.add("block", "dense1", graph=_dense_block(4))
    p.batch_norm(b, "transition_bn", 12)
    b.act("elu")
    p.conv(b, "transition", 12, 6, 1)
    p.avg_pool(b, 3, 2, 1)
    b.add("block", "dense2", graph=_dense_block(6))
    p.batch_norm(b, "last_bn", 14)
    features = b.act("relu")
    b.add("mean", of=features)
    first = p.linear(b, "fc", 14, CLASSES)
    b.add("std", of=features)
    second = p.linear(b, "side", 14, CLASSES)
    b.add("add", "sum", (first, second))
    return b.graph()


def loss_head() -> Graph:
    """A small network that ends in its loss."""
    b = Builder(("x", "labels"))
    p.conv(b, "conv", 3, 4, bias=True)
    b.act("relu")
    b.add("mean")
    logits = p.linear(b, "fc", 4, CLASSES)
    b.add("cross_entropy", "loss", (logits, "labels"), smoothing=0.1)
    return b.graph()


HOSTS = {
    host.name: host
    for host in (
        Host("vgg", vgg),
        Host("bare", bare),
        Host("resnet", resnet_basic),
        Host("bottleneck", resnet_bottleneck),
        Host("resnext", resnext, held_out=True),
        Host("mobilenet", mobilenet),
        Host("convnext", convnext, held_out=True),
        Host("unet", unet),
        Host("densenet", densenet, held_out=True),
        Host("loss", loss_head),
    )
}
