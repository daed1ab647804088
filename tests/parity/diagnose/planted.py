"""The defects planted in the hosts, and the causes that must be named: (id, layer, PyTorch's, Flax's, fix)."""

from flax import nnx

KERNEL = "uses the layer's own weight as it lies"
SUMMED = "block1.bn2 + the input of block1.conv1"
BLOCK = "block1.bn2 -> block1"
RESIDUAL = {
    "padding": (
        {"padding": "SAME"},
        [
            (
                "padding-same-vs-symmetric",
                "block2.conv2",
                "pads (1, 1)",
                "pads (0, 1), as 'SAME' does",
                "padding=1",
            )
        ],
    ),
    "two in one layer": (
        {"padding": "SAME", "bias": False},
        [
            (
                "padding-same-vs-symmetric",
                "block2.conv2",
                "pads (1, 1)",
                "pads (0, 1), as 'SAME' does",
                "padding=1",
            ),
            ("bias-missing", "block2.conv2", "adds a bias", "adds none", "use_bias=True"),
        ],
    ),
    "padding and another kernel": (
        {"padding": "SAME", "reading": "turned"},
        [
            (
                "padding-same-vs-symmetric",
                "block2.conv2",
                "pads (1, 1)",
                "pads (0, 1), as 'SAME' does",
                "padding=1",
            ),
            (
                "kernel-spatial-transpose",
                "block2.conv2",
                KERNEL,
                "uses the weight with height and width exchanged",
                "keep the kernel's axes as (height, width, in, out)",
            ),
        ],
    ),
    "flipped": (
        {"reading": "flipped"},
        [
            (
                "conv-transpose-flip",
                "block2.conv2",
                "slides the kernel as it lies",
                "slides the kernel reversed along height and width",
                "slide the kernel in PyTorch's direction (transpose_kernel=True, or do not reverse it)",
            )
        ],
    ),
    "kernel layout, twice": (
        {"reading": "swapped"},
        [
            (
                "kernel-layout",
                f"block{block}.conv1",
                KERNEL,
                "uses the weight with input and output channels exchanged",
                "transpose the weight: Flax keeps [..., in, out]",
            )
            for block in (1, 2)
        ],
    ),
    "groups": (
        {"reading": "interleaved"},
        [
            (
                "group-order",
                "block2.conv2",
                KERNEL,
                "uses the weight with the filters of the groups interleaved",
                "keep the filters of one group together: output o belongs to group o // (out / groups)",
            )
        ],
    ),
    "stride placement": (
        {"v1": True},
        [
            (
                "stride-placement",
                "block2.conv1",
                "the stride is at block2.conv2",
                "the stride is at block2.conv1",
                "stride in conv2, not in conv1",
            )
        ],
    ),
    "stride missing, twice": (
        {"no_stride": True},
        [
            ("stride-or-dilation", "block2.conv2", "stride 2", "stride 1", "strides=2"),
            ("stride-or-dilation", "block2.down", "stride 2", "stride 1", "strides=2"),
        ],
    ),
    "dilation missing": (
        {"no_dilation": True},
        [("stride-or-dilation", "last", "dilation 2", "dilation 1", "kernel_dilation=2")],
    ),
    "epsilon, twice": (
        {"epsilon": 1e-3},
        [
            ("norm-epsilon", f"block{block}.bn1", "epsilon 1e-05", "epsilon 0.001", "epsilon=1e-05")
            for block in (1, 2)
        ],
    ),
    "epsilon, a little": (
        {"epsilon": 1.001e-5},
        [
            ("norm-epsilon", f"block{block}.bn1", "epsilon 1e-05", "epsilon 1.001e-05", "epsilon=1e-05")
            for block in (1, 2)
        ],
    ),
    "batch statistics in evaluation": (
        {"mode": False},
        [
            (
                "bn-mode",
                f"block{block}.bn1",
                "normalises by the running statistics",
                "normalises by the statistics of the batch",
                "use_running_average=True in this mode",
            )
            for block in (1, 2)
        ],
    ),
    "shortcut missing": (
        {"residual": "missing"},
        [("residual-missing", BLOCK, f"ReLU({SUMMED})", "ReLU(block1.bn2)", f"compute ReLU({SUMMED})")],
    ),
    "ReLU before the sum": (
        {"residual": "order"},
        [
            (
                "residual-order",
                BLOCK,
                f"ReLU({SUMMED})",
                "ReLU(block1.bn2) + the input of block1.conv1",
                f"compute ReLU({SUMMED})",
            )
        ],
    ),
    "shortcut detached": (
        {"residual": "stopped"},
        [
            (
                "gradient-stopped",
                BLOCK,
                "the gradient passes",
                "no gradient passes (the branch is detached)",
                "jax.lax.stop_gradient must not lie on this path",
            )
        ],
    ),
    "pooling side": (
        {"pool": "side"},
        [
            (
                "pool-padding-side",
                "stem -> block1.conv1",
                "pads (1, 1)",
                "pads (0, 1)",
                "padding=((1, 1), (1, 1))",
            )
        ],
    ),
    "pooling value": (
        {"pool": "zeros"},
        [
            (
                "pool-padding-value",
                "stem -> block1.conv1",
                "pads with -inf",
                "pads with zeros",
                "pads with -inf before the maximum",
            )
        ],
    ),
    "pooling count": (
        {"counted": False},
        [
            (
                "pool-count-include-pad",
                "block2 -> last",
                "counts the padding",
                "does not count the padding",
                "count_include_pad=True",
            )
        ],
    ),
    "GELU": (
        {"approximate": True},
        [
            (
                "gelu-approximation",
                "last -> fc",
                "GELU by erf",
                "GELU by tanh",
                "use jax.nn.gelu(x, approximate=False)",
            )
        ],
    ),
    "activation": (
        {"activation": nnx.sigmoid},
        [("activation-kind", "fc -> out", "tanh", "sigmoid", "use jnp.tanh")],
    ),
    "softmax": (
        {"softmax": True},
        [
            (
                "softmax-twice",
                "out -> output",
                "hands on the logits",
                "applies softmax, which the loss applies again",
                "remove jax.nn.softmax",
            )
        ],
    ),
    "BGR": (
        {"bgr": True},
        [
            (
                "channel-order",
                "input -> stem",
                "channels in order",
                "channels reversed",
                "keep the order of the channels (RGB, not BGR)",
            )
        ],
    ),
    "normalised twice": (
        {"normalise": True},
        [
            (
                "preprocess-normalise",
                "input -> stem",
                "the input as it is",
                "2 x input - 0.5",
                "give the layer the input as it is",
            )
        ],
    ),
}


# One of each kind of search; all of them together are in the tests of many defects at once, and in `make test`.
ODD = {
    "epsilon": (
        {"epsilon": 1e-6},
        ("norm-epsilon", "ln", "epsilon 1e-05", "epsilon 1e-06", "epsilon=1e-05"),
    ),
    "corners": (
        {"corners": True},
        (
            "resize-align-corners",
            "up -> mix",
            "align_corners=False",
            "align_corners=True",
            "place the samples as align_corners=False does",
        ),
    ),
    "ddof": (
        {"ddof": 0},
        ("variance-ddof", "fc -> side", "divides by n - 1", "divides by n", "ddof=1"),
    ),
    "flatten": (
        {"flatten": "hwc"},
        (
            "flatten-order",
            "dropout -> fc",
            "flattens C, H, W",
            "flattens H, W, C",
            "jnp.transpose(x, (0, 3, 1, 2)) before the reshape",
        ),
    ),
    "keep probability": (
        {"rate": 0.8, "mode": "train"},
        (
            "dropout-rate",
            "dropout",
            "drops 0.2, scales by 1.25",
            "rate 0.8, which is the share that PyTorch keeps, scales by 5",
            "rate=0.2, the share that is dropped",
        ),
    ),
}
