"""Layers with PyTorch's defaults, appended to a graph under construction."""

from experiments.instrument.defects.graph import Builder


def conv(
    b: Builder,
    name: str,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    *,
    stride: int = 1,
    padding: int | None = None,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = False,
    of: str | None = None,
) -> str:
    """A convolution whose output keeps the size of its input at stride 1."""
    options = {"inputs": inputs, "outputs": outputs, "kernel": kernel, "stride": stride}
    side = dilation * (kernel // 2) if padding is None else padding
    return b.add("conv", name, of, **options, padding=side, dilation=dilation, groups=groups, bias=bias)


def batch_norm(b: Builder, name: str, channels: int, of: str | None = None) -> str:
    """Batch normalisation."""
    return b.add("batch_norm", name, of, channels=channels, epsilon=1e-5, momentum=0.1)


def layer_norm(b: Builder, name: str, channels: int) -> str:
    """Layer normalisation of the last axis."""
    return b.add("layer_norm", name, channels=channels, epsilon=1e-5)


def group_norm(b: Builder, name: str, groups: int, channels: int) -> str:
    """Group normalisation."""
    return b.add("group_norm", name, groups=groups, channels=channels, epsilon=1e-5)


def linear(
    b: Builder, name: str, inputs: int, outputs: int, *, bias: bool = True, of: str | None = None
) -> str:
    """A dense layer."""
    return b.add("linear", name, of, inputs=inputs, outputs=outputs, bias=bias)


def max_pool(b: Builder, window: int, stride: int, padding: int = 0, *, ceil: bool = False) -> str:
    """Max pooling."""
    return b.add("max_pool", window=window, stride=stride, padding=padding, ceil=ceil)


def avg_pool(b: Builder, window: int, stride: int, padding: int = 0) -> str:
    """Average pooling that counts its padding."""
    return b.add("avg_pool", window=window, stride=stride, padding=padding, counted=True)


def resize(
    b: Builder, factor: float, method: str = "bilinear", *, corners: bool = False, of: str | None = None
) -> str:
    """Resizing without antialiasing."""
    return b.add("resize", of=of, factor=factor, method=method, corners=corners)


def conv_norm(
    b: Builder, name: str, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1
) -> str:
    """A convolution and its batch norm, `NAME` and `NAME_bn`."""
    conv(b, name, inputs, outputs, kernel, stride=stride, groups=groups)
    return batch_norm(b, f"{name}_bn", outputs)
