"""Every layer of the network in words and formulas, for the table, the drawing and the page."""

import dataclasses

from experiments.autodiff.backprop_by_hand.network import CLASSES, SMOOTHING

SYMBOLS = {
    "x": "x",
    "z1": "z₁",
    "y1": "y₁",
    "a1": "a₁",
    "p1": "p₁",
    "z2": "z₂",
    "a2": "a₂",
    "f": "f",
    "z3": "z₃",
}


@dataclasses.dataclass(frozen=True)
class LayerRule:
    """One layer: how it computes `output` from `input`, and the error signal of `input` from that of `output`.

    `parameters` maps names of the network's parameters to the formulas of their gradients. `why` derives the backward
    rule, one paragraph per item; an item in asterisks is a formula on a line of its own.
    """

    layer: str
    kind: str
    input: str
    output: str
    forward: str
    backward: str
    symbols: str
    parameters: dict[str, str]
    why: tuple[str, ...]


_CONVOLUTION = (
    "A convolution is z = W a + b again, with the same few weights used at every position. Output i sees the pixel "
    "r = i s + k − p through the tap k of the kernel (stride s, padding p; rows only, columns are alike):",
    "*z[i] = Σₖ K[k] · x[i s + k − p] + b*",
    "Read off who touches whom. Pixel r reached every output i with i s + k − p = r, each time by K[k]; tap k met "
    "every output i at the pixel i s + k − p:",
    "*δx[r] = Σ K[k] · δz[i]  over i, k with i s + k − p = r*",
    "*∂L/∂K[k] = Σᵢ x[i s + k − p] · δz[i],    ∂L/∂b = Σᵢ δz[i]*",
)

RULES = (
    LayerRule(
        "conv1",
        "convolution 3×3, padding 1",
        "x",
        "z1",
        "z₁[i] = Σₖ K₁[k] · x[i + k − 1]",
        "δx[r] = Σₖ K₁[k] · δz₁[r − k + 1]",
        "K₁",
        {"conv1.weight": "∂L/∂K₁[k] = Σᵢ x[i + k − 1] · δz₁[i]"},
        (
            "The rule is that of conv2 with stride 1. The sum over the outputs that a pixel reached is then itself a "
            "convolution of δz₁, with the kernel turned by half a circle.",
            "There is no bias: batch normalisation subtracts the mean, so a bias would have the gradient 0.",
            "δx is what the loss thinks of each pixel: more ink where δx is negative would lower the loss.",
        ),
    ),
    LayerRule(
        "norm",
        "batch normalisation, training",
        "z1",
        "y1",
        "y₁ = γ u + β,  u = (z₁ − μ) r,  r = 1/√(v + ε)",
        "δz₁ = γ r (δy₁ − (S + u T)/N)",
        "γ, β",
        {"norm.weight": "∂L/∂γ = T = Σ δy₁ u", "norm.bias": "∂L/∂β = S = Σ δy₁"},
        (
            "In each channel μ and v are mean and variance of the N values in the batch, so a pixel acts on the loss "
            "three times: through its own y, through μ and through v. Follow all three:",
            "*∂L/∂v = Σ δy γ (z − μ) · (−½ r³) = −½ γ r² T,    T = Σ δy u*",
            "*∂L/∂μ = −γ r S,    S = Σ δy        (v does not move with μ: deviations sum to zero)*",
            "*δzᵢ = γ r δyᵢ + ∂L/∂μ · 1/N + ∂L/∂v · 2 (zᵢ − μ)/N = γ r (δyᵢ − (S + uᵢ T)/N)*",
            "So the error signal loses its mean and its component along u: adding a constant to the channel, or "
            "stretching it, changes nothing that the normalisation would not undo. To forget the term in S, or T, is "
            "the classic mistake.",
        ),
    ),
    LayerRule(
        "relu1",
        "ReLU",
        "y1",
        "a1",
        "a₁ = max(y₁, 0)",
        "δy₁ = δa₁ ⊙ [y₁ > 0]",
        "",
        {},
        (
            "As for relu2. Of the few pixels that got an error signal from the pooling, the positive ones pass it on.",
        ),
    ),
    LayerRule(
        "pool",
        "max pooling 2×2",
        "a1",
        "p1",
        "p₁ = largest of each window",
        "δa₁ = δp₁ at each window's first largest pixel, else 0",
        "",
        {},
        (
            "Only the winner of a window reached the output, with derivative 1; the three losers changed nothing. "
            "Equal pixels are common where the paper is blank: the first in reading order wins, as in PyTorch.",
        ),
    ),
    LayerRule(
        "conv2",
        "convolution 3×3, stride 2, padding 1",
        "p1",
        "z2",
        "z₂[i] = Σₖ K₂[k] · p₁[2i + k − 1] + b₂",
        "δp₁[r] = Σ K₂[k] · δz₂[i] over 2i + k − 1 = r",
        "K₂, b₂",
        {
            "conv2.weight": "∂L/∂K₂[k] = Σᵢ p₁[2i + k − 1] · δz₂[i]",
            "conv2.bias": "∂L/∂b₂ = Σᵢ δz₂[i]",
        },
        (
            *_CONVOLUTION,
            "With stride 2 this is a convolution of δz₂ with a zero put between any two of its values; the channels "
            "are summed over outputs instead of inputs, which is the transpose Wᵀ of the recursion.",
        ),
    ),
    LayerRule(
        "relu2",
        "ReLU",
        "z2",
        "a2",
        "a₂ = max(z₂, 0)",
        "δz₂ = δa₂ ⊙ [z₂ > 0]",
        "",
        {},
        (
            "This is the factor f′(z) of the recursion: 1 where the input was positive, 0 elsewhere.",
            "At 0 itself there is no derivative; PyTorch takes 0, and so does this page.",
        ),
    ),
    LayerRule(
        "flatten",
        "a change of shape",
        "a2",
        "f",
        "f = a₂ as one row an image",
        "δa₂ = δf, back in a₂'s shape",
        "",
        {},
        ("Nothing is computed, so nothing is differentiated. Only the order must be undone as it was done.",),
    ),
    LayerRule(
        "dense",
        "fully connected",
        "f",
        "z3",
        "z₃ = f W + b",
        "δf = δz₃ Wᵀ",
        "W, b",
        {"dense.weight": "∂L/∂W = fᵀ δz₃", "dense.bias": "∂L/∂b = Σₙ δz₃"},
        (
            "The images are rows here, so W stands on the right. Each entry of z₃ is a sum of products, and the "
            "derivative of a product by one factor is the other:",
            "*z₃[n, o] = Σᵢ f[n, i] W[i, o] + b[o]*",
            "*δf[n, i] = Σₒ δz₃[n, o] W[i, o],    ∂L/∂W[i, o] = Σₙ f[n, i] δz₃[n, o],    ∂L/∂b[o] = Σₙ δz₃[n, o]*",
        ),
    ),
    LayerRule(
        "loss",
        f"cross-entropy, labels smoothed by {SMOOTHING}",
        "z3",
        "",
        "L = −1/n Σ q · log softmax(z₃)",
        "δz₃ = (softmax(z₃) − q)/n",
        "",
        {},
        (
            f"q is the target: {1 - SMOOTHING} on the true class plus {SMOOTHING}/{CLASSES} on every class; n is the "
            "number of images. With p = softmax(z), log pₖ = zₖ − log Σ exp(z), so that ∂ log pₖ/∂zⱼ = [j = k] − pⱼ, "
            "and since Σ q = 1",
            "*∂/∂zⱼ (−Σₖ qₖ log pₖ) = −Σₖ qₖ ([j = k] − pⱼ) = pⱼ − qⱼ*",
            "The error signal begins as the difference between what the network said and what it should have said.",
        ),
    ),
)
