"""The catalogue of porting defects: every id that a diagnosis may print and `--accept` may name.

Each line says what PyTorch does and how a port goes wrong, forward (F), in the gradient only (G), in the state
(S), in the optimiser (O), in the initial weights (I), in precision (P), in the data (D) or in the weights (W).
"""

import difflib
from collections.abc import Iterable

from parity.errors import CannotCompare

DEFECTS: dict[str, str] = {
    "padding-same-vs-symmetric": "F: symmetric integer padding; 'SAME' pads (0, 1) or (2, 3) at stride 2",
    "pool-padding-side": "F: symmetric pooling padding; 'SAME' pads bottom and right",
    "pool-padding-value": "F: max pooling pads with -inf; zeros before the pool",
    "pool-count-include-pad": "F: average pooling counts padding by default; counted or not, differently",
    "pool-ceil-mode": "F: ceil_mode; the output size is rounded down",
    "bn-momentum-complement": "S: r <- (1-m) r + m x, m = 0.1; r <- m r + (1-m) x, m = 0.99",
    "bn-running-var-bias": "S: the running variance is unbiased, n/(n-1); biased",
    "norm-epsilon": "F: epsilon 1e-5 in every norm; 1e-6 in LayerNorm and GroupNorm, 1e-3 in Keras ports",
    "norm-fast-variance": "P: two-pass variance; E[x^2] - E[x]^2",
    "bn-stats-touched-at-init": "S: initialising changes nothing; it updates the statistics",
    "bn-stats-not-written-back": "S: statistics are updated; missing `mutable` or a missing merge",
    "bn-mode": "F, S: train() and eval(); running averages in training, or batch statistics in evaluation",
    "flatten-order": "F: flattens C, H, W; flattens H, W, C before a dense layer",
    "kernel-layout": "W: OIHW and [out, in]; a transposition is missing, which square kernels hide",
    "kernel-spatial-transpose": "W: height then width; width then height",
    "conv-transpose-flip": "F: the gradient of a convolution; fractionally strided without flipping the kernel",
    "group-order": "W: (O, I/g, kH, kW); groups interleaved wrongly",
    "weight-swapped": "W: two weights of one shape exchanged",
    "bias-missing": "F: a bias is dropped or left at its initial value",
    "bias-extra": "F: a bias that PyTorch does not have",
    "parameter-missing": "F: a parameter other than a bias is dropped",
    "stride-placement": "F: ResNet v1.5 strides in the 3x3; v1 in the first 1x1",
    "stride-or-dilation": "F: a stride or a dilation is lost",
    "residual-missing": "F: the shortcut is not added, or the wrong one is",
    "residual-order": "F: add, then ReLU; ReLU before the add",
    "activation-kind": "F: ReLU, ReLU6, SiLU, hard-sigmoid, ...; a neighbour of it",
    "gelu-approximation": "F: exact, by erf; by tanh",
    "relu-tie-gradient": "G: relu'(0) = 0; maximum(x, 0) gives 1/2, clamp gives 1",
    "gradient-stopped": "G: every branch is differentiated; a branch is detached",
    "buffer-trained": "G: a buffer has no gradient; a constant has become a parameter",
    "variance-ddof": "F: std and var are unbiased; ddof 0",
    "dropout-rate": "F: p is the drop probability, scale 1/(1-p); keep probability, unscaled, or active in eval",
    "resize-antialias": "F: no antialiasing; jax.image.resize antialiases",
    "resize-align-corners": "F: align_corners, off by default; there is no such option",
    "softmax-twice": "F: the loss takes logits; it is given probabilities",
    "loss-reduction": "F: mean; sum, per example, or a mean of means",
    "label-smoothing-form": "F: (1-e) y + e/K; e/(K-1)",
    "momentum-form": "O: v <- mu v + (1-d) g, p <- p - lr v, first v = g; another dampening, Nesterov, or lr inside v",
    "adam-decay-coupling": "O: Adam adds L2 to the gradient, AdamW decays apart; exchanged",
    "sgd-decay-coupling": "O: decay enters before momentum; after it",
    "decay-mask": "O: biases and norms decay too; masked, or the reverse",
    "adam-epsilon-placement": "O: outside the root, after bias correction; inside, or before it",
    "rmsprop-epsilon-placement": "O: alpha 0.99, epsilon outside the root; decay 0.9, epsilon inside",
    "adagrad-epsilon": "O: accumulator 0, epsilon 1e-10 outside; 0.1 and 1e-7 inside",
    "clip-epsilon": "O: max / (norm + 1e-6); no epsilon",
    "schedule-off-by-one": "O: stepped after the update; the count is read before the increment, or t/(T-1) for t/T",
    "learning-rate-scale": "O: the learning rate as given; a multiple of it, such as one divided by devices",
    "init-distribution": "I: uniform +-1/sqrt(fan_in), torchvision's ResNets kaiming fan_out; lecun normal, bias 0",
    "zero-gamma": "I: off by default; the last scale of a block starts at zero",
    "matmul-precision": "P: float32 products; TF32 or bf16 by default on accelerators",
    "dtype-pinned": "P: a layer pins its own dtype",
    "preprocess-normalise": "D: 0..1, mean and standard deviation; 0..255 or other constants",
    "channel-order": "D: RGB; BGR",
}


def check_ids(ids: Iterable[str]) -> tuple[str, ...]:
    """The ids, once each, if all are in the catalogue.

    Raises:
        CannotCompare: one is not; the nearest ids are given.
    """
    ids = tuple(dict.fromkeys(ids))
    for unknown in ids:
        if unknown not in DEFECTS:
            near = difflib.get_close_matches(unknown, DEFECTS, n=3, cutoff=0.4)
            hint = f"the nearest ids are {', '.join(near)}" if near else "`parity check --help` lists the ids"
            raise CannotCompare(f"{unknown!r} is not an id of the defect catalogue; {hint}.")
    return ids
