"""Constructors of Flax's layers as text, for Linen and for NNX, and the helpers that a port brings along."""

from experiments.instrument.styles.network import Conv, Dense, Dropout, Norm
from experiments.instrument.styles.style import Style

ACTS = {
    "relu": ("relu({x})", "relu"), "gelu": ("gelu({x}, approximate=False)", ""),
    "silu": ("silu({x})", "silu"), "tanh": ("tanh({x})", "tanh"), "sigmoid": ("sigmoid({x})", "sigmoid"),
    "leaky_relu": ("leaky_relu({x}, 0.1)", ""), "relu6": ("relu6({x})", "relu6"),
    "hard_swish": ("hard_swish({x})", "hard_swish"), "elu": ("elu({x})", "elu"),
}  # fmt: skip

LINEN_NORM = '''
class TorchBatchNorm(nn.Module):
    """A batch norm with PyTorch's running variance, which is unbiased; without a momentum, a cumulative average."""

    momentum: float | None = 0.1
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x, use_running_average):
        c = x.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (c,))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_var = self.variable("batch_stats", "var", jnp.ones, (c,))
        count = None
        if self.momentum is None:
            count = self.variable("batch_stats", "count", jnp.zeros, (), jnp.int32)
        if use_running_average:
            mean, var = running_mean.value, running_var.value
        else:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            if not self.is_initializing():
                n = x.size // c
                if count is not None:
                    count.value = count.value + 1
                m = self.momentum if count is None else 1 / count.value.astype(x.dtype)
                {plant}running_mean.value = (1 - m) * running_mean.value + m * mean
                running_var.value = (1 - m) * running_var.value + m * var * n / (n - 1)
        return (x - mean) / jnp.sqrt(var + self.epsilon) * scale + bias
'''
NNX_NORM = '''
class TorchBatchNorm(nnx.Module):
    """A batch norm with PyTorch's running variance, which is unbiased; without a momentum, a cumulative average."""

    def __init__(self, c, momentum=0.1, epsilon=1e-5):
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False
        self.scale, self.bias = nnx.Param(jnp.ones(c)), nnx.Param(jnp.zeros(c))
        self.mean, self.var = nnx.BatchStat(jnp.zeros(c)), nnx.BatchStat(jnp.ones(c))
        if momentum is None:
            self.count = nnx.BatchStat(jnp.zeros((), jnp.int32))

    def __call__(self, x, use_running_average=None):
        if use_running_average is None:
            use_running_average = self.use_running_average
        if use_running_average:
            mean, var = self.mean[...], self.var[...]
        else:
            mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
            n = x.size // x.shape[-1]
            if self.momentum is None:
                self.count[...] = self.count[...] + 1
            m = self.momentum if self.momentum is not None else 1 / self.count[...].astype(x.dtype)
            {plant}self.mean[...] = (1 - m) * self.mean[...] + m * mean
            self.var[...] = (1 - m) * self.var[...] + m * var * n / (n - 1)
        return (x - mean) / jnp.sqrt(var + self.epsilon) * self.scale[...] + self.bias[...]
'''
NNX_DROP = '''
class Drop(nnx.Module):
    """A dropout that is written out."""

    def __init__(self, rate, rngs, axes=()):
        self.rate, self.axes, self.rngs = rate, axes, rngs
        self.deterministic = False

    def __call__(self, x, deterministic=None):
        deterministic = self.deterministic if deterministic is None else deterministic
        if deterministic:
            return x
        shape = [1 if axis in self.axes else size for axis, size in enumerate(x.shape)]
        mask = jax.random.bernoulli(self.rngs.{stream}(), 1 - self.rate, shape)
        return jnp.where(mask, x / (1 - self.rate), 0)
'''
SCALES = {
    "nnx": '''
class Gain(nnx.Module):
    """A scale of every channel."""

    def __init__(self, channels):
        self.scale = nnx.Param(jnp.full((channels,), 0.5))

    def __call__(self, x):
        return x * self.scale[...]
''',
    "linen": '''
class Gain(nn.Module):
    """A scale of every channel."""

    @nn.compact
    def __call__(self, x):
        return x * self.param("scale", nn.initializers.constant(0.5), (x.shape[-1],))
''',
}


def arguments(*positional: object, **options: object) -> str:
    """Arguments of a call as text; an option that is None is left out."""
    named = [f"{name}={value}" for name, value in options.items() if value is not None]
    return ", ".join([*map(str, positional), *named])


def convolution(node: Conv, style: Style, common: set[str]) -> str:
    """The arguments of a convolution; `common` are options that a partial has already."""
    p, by_hand = node.padding, style.padding == "hand" and node.padding
    padding = (
        "'VALID'"
        if by_hand or not p
        else str(p)
        if style.padding == "argument"
        else f"(({p}, {p}), ({p}, {p}))"
    )
    if node.plant == "padding-side":
        padding = "'SAME'"
    dilation = 1 if node.plant == "dilation" else node.dilation
    options = {
        "strides": None if node.stride == 1 else f"({node.stride}, {node.stride})",
        "padding": padding,
        "feature_group_count": None if node.groups == 1 else node.groups,
        "kernel_dilation": None if dilation == 1 else dilation,
        "use_bias": None if "use_bias" in common or node.bias else False,
    }
    if node.plant == "bias-missing":
        options["use_bias"] = False
    kernel = f"({node.kernel}, {node.kernel})"
    if style.api == "nnx":
        return arguments(node.cin, node.cout, kernel, **options, rngs="rngs")
    return arguments(node.cout, kernel, **options)


def epsilon(node: Norm) -> float:
    """What the port adds to a variance."""
    return {"epsilon": 1e-3, "hidden-epsilon": 1.2e-5}.get(node.plant, node.epsilon)


def norm(node: Norm, style: Style, common: set[str]) -> tuple[str, str]:
    """The class of a norm of the library, and its arguments."""
    nnx = style.api == "nnx"
    pinned = style.pin == "layer" or node.plant == "hidden-epsilon"
    options: dict[str, object] = {"epsilon": epsilon(node), "dtype": "jnp.float32" if pinned else None}
    positional: list[object] = [node.channels] if nnx else []
    if node.kind == "batch":
        assert node.momentum is not None
        momentum = node.momentum if node.plant == "momentum" else round(1 - node.momentum, 6)
        options |= {"momentum": momentum, "axis_name": "'batch'" if style.axis_name else None}
    elif node.kind == "group":
        positional.append(node.groups)
    options = {k: v for k, v in options.items() if k not in common or node.plant}
    if nnx:
        options["rngs"] = "rngs"
    name = {"batch": "BatchNorm", "group": "GroupNorm", "layer": "LayerNorm"}[node.kind]
    return name, arguments(*positional, **options)


def dense(node: Dense, style: Style) -> str:
    """The arguments of a dense layer."""
    dtype = "jnp.float32" if style.pin == "layer" else None
    bias = False if node.plant == "bias-missing" else None
    if style.api == "nnx":
        return arguments(node.cin, node.cout, use_bias=bias, dtype=dtype, rngs="rngs")
    return arguments(node.cout, use_bias=bias, dtype=dtype)


def dropped_axes(node: Dropout) -> tuple[int, ...]:
    """The axes along which the port's mask is constant."""
    channels = node.channels != (node.plant == "dropout-shape")
    return (1, 2) if channels else ()


def dropout_rate(node: Dropout) -> float:
    """The share that the port drops."""
    return round(node.rate + 0.07, 4) if node.plant == "dropout-rate" else node.rate


def dropout(node: Dropout, style: Style) -> str:
    """The arguments of a dropout of the library."""
    axes = dropped_axes(node) or None
    stream = None if style.stream == "dropout" else f'"{style.stream}"'
    rngs = "rngs" if style.api == "nnx" else None
    return arguments(dropout_rate(node), broadcast_dims=axes, rng_collection=stream, rngs=rngs)
