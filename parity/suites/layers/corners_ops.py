"""Functions of `flaxcnn.ops` in corners: ties, borders, thresholds, examples under vmap."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from flaxcnn import ops
from flaxcnn.models import layers
from parity.suites.layers.op_runs import Op


def pooling(generator: np.random.Generator) -> list[Op]:
    """Windows of minus infinity, with ties, over the border; bins that are one only along one axis."""
    ties = np.round(2 * _normal(generator, 2, 2, 7, 8))
    # In the first channel no window holds a number, in the others some do.
    low = np.where(generator.random(ties.shape) < 0.7, -np.inf, ties).astype(np.float32)
    low[:, 0] = -np.inf
    pooled = [
        _max_pooling("max_pool2d of minus infinity", low, 3, padding=1, stride=(1, 2), dilation=(2, 1)),
        _max_pooling("max_pool2d of ties", ties, 3, stride=2, padding=1, ceil_mode=True),
    ]
    for size in ((1, 2), (2, 1), (9, 3)):
        pooled.append(
            Op(
                f"adaptive_avg_pool2d to {size[0]} x {size[1]}",
                {"images": ties},
                lambda images, size=size: functional.adaptive_avg_pool2d(images, size),
                lambda images, size=size: ops.adaptive_avg_pool2d(images, size),
                lambda g, images, size=size: ops.adaptive_avg_pool2d_backward(g, images.shape, size),
                ("images",),
            )
        )
    return pooled


def _max_pooling(name: str, images: np.ndarray, window: int, **options: Any) -> Op:
    return Op(
        name,
        {"images": images},
        lambda images: functional.max_pool2d(images, window, **options),
        lambda images: ops.max_pool2d(images, window, **options),
        lambda cotangent, images: ops.max_pool2d_backward(cotangent, images, window, **options),
        ("images",),
        shown=bool(np.isfinite(images).all()),
    )


def normalisation(generator: np.random.Generator) -> list[Op]:
    """Statistics of two values, of one and of none; their derivatives; second derivatives of the output."""
    rows = {"rows": 3 + _normal(generator, 4, 3)}
    statistics = {"mean": _normal(generator, 3), "var": generator.uniform(0.5, 2, 3).astype(np.float32)}
    two_rows, one_row = np.array([True, False, False, True]), np.array([False, False, True, False])

    def masked(mask: np.ndarray) -> tuple[Any, Any]:
        def by_torch(rows: Tensor, mean: Tensor, var: Tensor) -> tuple[Tensor, ...]:
            kept = rows[torch.tensor(mask)]
            if not len(kept):
                return rows, mean, var
            center, biased = kept.mean(0), kept.var(0, unbiased=False)
            y = (rows - center) / torch.sqrt(biased + 1e-5)
            unbiased = biased * len(kept) / max(len(kept) - 1, 1)
            return y, mean.lerp(center, 0.1), var.lerp(unbiased, 0.1)

        def by_flax(rows: jax.Array, mean: jax.Array, var: jax.Array) -> tuple[jax.Array, ...]:
            return ops.batch_norm(rows, None, None, mean, var, train=True, mask=jnp.asarray(mask))

        return by_torch, by_flax

    def torch_moments(rows: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        return torch.stack([rows.mean(0), rows.var(0)])

    def flax_moments(rows: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        return jnp.stack(ops.batch_norm(rows, None, None, mean, var, train=True, momentum=1.0)[1:])

    def torch_slope(rows: Tensor, mean: Tensor, var: Tensor) -> Tensor:
        wanted = rows if rows.requires_grad else rows.detach().requires_grad_()
        with torch.enable_grad():
            y = functional.batch_norm(wanted, mean.clone(), var.clone(), training=True)
            return torch.autograd.grad((y**3).sum(), wanted, create_graph=True)[0]

    def flax_slope(rows: jax.Array, mean: jax.Array, var: jax.Array) -> jax.Array:
        def cubed(rows: jax.Array) -> jax.Array:
            return jnp.sum(ops.batch_norm(rows, None, None, mean, var, train=True)[0] ** 3)

        return jax.grad(cubed)(rows)

    given = rows | statistics
    return [
        Op("batch_norm of two values", {"rows": rows["rows"][:2]} | statistics, *masked(two_rows[[0, 3]])),
        Op("batch_norm of two rows that count", given, *masked(two_rows)),
        Op("batch_norm of one row that counts", given, *masked(one_row)),
        # The output without any row is flaxcnn's convention, so only the statistics are compared: they stay.
        Op("batch_norm of no row that counts", given, *masked(two_rows & one_row), shown=False),
        Op("statistics of batch_norm", given, torch_moments, flax_moments, None, ("rows",)),
        Op("derivative of batch_norm", given, torch_slope, flax_slope, None, ("rows",)),
    ]


def dropout(generator: np.random.Generator) -> list[Op]:
    """Masks whose threshold is a drawn number, all and nothing dropped, the layer's own mask."""
    shape, key = (5, 4), jax.random.key(3)
    bits = np.asarray(jax.random.bits(key, shape, jnp.uint32))
    x = {"x": _normal(generator, *shape)}

    def drawn(name: str, threshold: int) -> Op:
        """An element is kept if its bits are at least the threshold: 2^32 times the rate."""
        rate = threshold / 2**32
        return Op(
            name,
            x | {"kept": bits.astype(np.int64) >= threshold},
            lambda x, kept: torch.where(kept, x, 0.0),
            lambda x, kept: jnp.where(ops.dropout_mask(key, rate, x.shape), x, jnp.zeros((), x.dtype)),
        )

    mask = {"mask": bits.astype(np.int64) >= 2**31}
    return [
        drawn("dropout_mask at a drawn number", int(np.median(bits[0, :3]))),
        drawn("dropout_mask just above a drawn number", int(np.median(bits[0, :3])) + 1),
        drawn("dropout_mask at rate 0", 0),
        drawn("dropout_mask at rate 1", 2**32),
        Op(
            "dropout at rate 1",
            x,
            lambda x: functional.dropout(x, 1.0) + x,
            lambda x: ops.dropout(x, key, 1.0) + x,
            None,
            ("x",),
        ),
        Op(
            "dropout at rate 0 with a mask",
            x | mask,
            lambda x, mask: torch.where(mask, x, 0.0),
            lambda x, mask: ops.dropout(x, None, 0.0, mask=mask),
            lambda cotangent, x, mask: ops.dropout_backward(cotangent, mask, 0.0),
            ("x",),
        ),
        Op("dropout at rate 0", x, nn.Dropout(0.0), lambda x: ops.dropout(x, None, 0.0)),
        Op(
            "Dropout at rate 0",
            x,
            nn.Dropout(0.0),
            lambda x: layers.Dropout(0.0)(x, train=True),
        ),
        Op(
            "Dropout",
            x | mask,
            lambda x, mask: torch.where(mask, 2 * x, 0.0),
            lambda x, mask: layers.Dropout(0.5)(x, train=True, key=key),
            None,
            ("x",),
        ),
    ]


def cross_entropy(generator: np.random.Generator) -> list[Op]:
    """Rows that do not count and hold no number, labels at both ends, logits of minus infinity."""
    logits, labels = 3 * _normal(generator, 6, 4), np.array([0, 3, 1, 9, 2, -5])
    mask = np.array([True, True, True, False, True, False])
    logits[3], logits[5, 1] = np.nan, np.inf
    weights = generator.uniform(0.5, 2, 4).astype(np.float32)
    given = {"logits": logits, "labels": labels, "weights": weights, "mask": mask}
    single = {"logits": np.array([[1, -np.inf, 0.5, 80], [300, 0, -np.inf, -9]], np.float32)}
    single |= {"labels": np.array([3, 0])}

    def masked(reduction: str, **options: Any) -> Op:
        def by_torch(logits: Tensor, labels: Tensor, weights: Tensor, mask: Tensor) -> Tensor:
            losses = functional.cross_entropy(
                logits[mask], labels[mask], weights, reduction=reduction, **options
            )
            return (
                losses
                if reduction != "none"
                else torch.zeros(len(logits)).to(losses).masked_scatter(mask, losses)
            )

        def settings(weights: jax.Array, mask: jax.Array) -> dict[str, Any]:
            return {"class_weights": weights, "mask": mask, "reduction": reduction} | options

        return Op(
            f"cross_entropy with a mask, {reduction}",
            given,
            by_torch,
            lambda logits, labels, *rest: ops.cross_entropy(logits, labels, **settings(*rest)),
            lambda g, logits, labels, *rest: ops.cross_entropy_backward(g, logits, labels, **settings(*rest)),
            ("logits",),
        )

    return [
        masked("mean", label_smoothing=0.1),
        masked("sum", ignore_index=3),
        masked("none", label_smoothing=1.0),
        Op(
            "cross_entropy of minus infinity",
            single,
            lambda logits, labels: functional.cross_entropy(logits, labels, reduction="sum"),
            lambda logits, labels: ops.cross_entropy(logits, labels, reduction="sum"),
            lambda g, logits, labels: ops.cross_entropy_backward(g, logits, labels, reduction="sum"),
            ("logits",),
        ),
    ]


def batched(generator: np.random.Generator) -> list[Op]:
    """Examples under `vmap`, along another axis than the first, against PyTorch example by example."""
    images, kernel = _normal(generator, 6, 2, 5, 7), _normal(generator, 6, 2, 3, 2)
    given = {"images": images, "kernel": kernel}
    wanted = ("images", "kernel")

    def over_images(images: jax.Array, kernel: jax.Array) -> jax.Array:
        # Two examples of three images, side by side in the second axis.
        pairs = jnp.reshape(images, (3, 2, *images.shape[1:]))
        outputs = jax.vmap(lambda example: ops.conv2d(example, kernel, stride=2), 1, 1)(pairs)
        return jnp.reshape(outputs, (6, *outputs.shape[2:]))

    def over_kernels(images: jax.Array, kernel: jax.Array) -> jax.Array:
        kernels = jnp.reshape(kernel, (*kernel.shape[:3], 2, 3))
        outputs = jax.vmap(lambda kernel: ops.conv2d(images, kernel), 3, 3)(kernels)
        return jnp.reshape(outputs, (*outputs.shape[:3], 6))

    def normalised(images: jax.Array) -> jax.Array:
        def example(images: jax.Array) -> jax.Array:
            zeros = jnp.zeros(2, images.dtype)
            return ops.batch_norm(images, None, None, zeros, zeros, train=True)[0]

        pairs = jnp.reshape(images, (3, 2, *images.shape[1:]))
        return jnp.reshape(jax.vmap(example, 1, 1)(pairs), images.shape)

    def by_torch(images: Tensor) -> Tensor:
        # Every second image belongs to the same example.
        parts = [functional.batch_norm(images[n::2], None, None, training=True) for n in range(2)]
        return torch.stack(parts, 1).reshape(images.shape)

    return [
        Op(
            "conv2d of examples",
            given,
            lambda images, kernel: functional.conv2d(images, kernel, stride=2),
            over_images,
            None,
            wanted,
        ),
        Op(
            "conv2d by kernels",
            given,
            functional.conv2d,
            over_kernels,
            None,
            wanted,
        ),
        Op("batch_norm of examples", {"images": images}, by_torch, normalised, None, ("images",)),
    ]


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


def rounding(generator: np.random.Generator) -> list[Op]:
    """Rounding to 8 bits: ties, both ends of the range, values beyond them, zero at another code."""
    # PyTorch keeps the scale in float32, whatever the values are: powers of two are exact in both.
    return [
        Op(
            f"rounded from {zero}",
            {"x": _beyond(generator, scale, zero)},
            lambda x, scale=scale, zero=zero: torch.fake_quantize_per_tensor_affine(
                x, scale, zero, -128, 127
            ),
            lambda x, scale=scale, zero=zero: ops.rounded(x, scale, zero),
            lambda cotangent, x, scale=scale, zero=zero: ops.rounded_backward(cotangent, x, scale, zero),
            ("x",),
        )
        for scale, zero in ((0.25, -20), (0.0625, 0))
    ]


def _beyond(generator: np.random.Generator, scale: float, zero: int) -> np.ndarray:
    halves = (np.arange(-300, 300) / 2 - zero) * scale
    return np.concatenate([9 * _normal(generator, 40), halves]).astype(np.float32)
