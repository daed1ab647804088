"""The smallest model: two stages of convolution and pooling, a hidden dense layer, dropout, an output layer."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Key

from flaxcnn import ops
from flaxcnn.errors import InvalidArgument
from flaxcnn.models.layers import BatchNorm, Conv, Dense, Dropout


class CNN(nnx.Module):
    """conv1-relu-pool, conv2-relu-pool, flatten, fc1-relu, dropout, fc2; every size is an option.

    The features are flattened in (channel, row, column) order, so that `fc1` is PyTorch's `fc1` after its
    `flatten`, with no permutation.

    Args:
        num_classes: size of the logits.
        in_channels: channels of the input images.
        image_size: rows and columns of the input, or one number for both; `fc1` depends on it.
        channels: output channels of the two convolutions.
        kernel_size: the size of both kernels; the padding keeps the image size.
        pool: window and stride of both max pools.
        hidden: units of `fc1`.
        dropout: probability of dropping a hidden unit in training.
        batch_norm: normalise after each convolution (`bn1`, `bn2`).
        rngs: the source of the initial weights, which follow `torch.nn.Conv2d` and `torch.nn.Linear`.

    Raises:
        InvalidArgument: the image is too small for two pools.
    """

    def __init__(
        self,
        *,
        num_classes: int = 10,
        in_channels: int = 1,
        image_size: int | tuple[int, int] = 28,
        channels: tuple[int, int] = (32, 64),
        kernel_size: int = 3,
        pool: int = 2,
        hidden: int = 128,
        dropout: float = 0.25,
        batch_norm: bool = False,
        rngs: nnx.Rngs,
    ) -> None:
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        rows, columns = height // pool // pool, width // pool // pool
        if rows < 1 or columns < 1 or kernel_size % 2 == 0:
            raise InvalidArgument(
                f"CNN got a {height}x{width} image with pool={pool} and kernel_size={kernel_size}; expected an "
                f"image of at least {pool * pool} pixels a side and an odd kernel."
            )
        padding = kernel_size // 2
        self.conv1 = Conv(in_channels, channels[0], kernel_size, padding=padding, rngs=rngs)
        self.bn1 = BatchNorm(channels[0]) if batch_norm else None
        self.conv2 = Conv(channels[0], channels[1], kernel_size, padding=padding, rngs=rngs)
        self.bn2 = BatchNorm(channels[1]) if batch_norm else None
        self.fc1 = Dense(channels[1] * rows * columns, hidden, rngs=rngs)
        self.dropout = Dropout(dropout)
        self.fc2 = Dense(hidden, num_classes, rngs=rngs)
        self.pool, self.image_size = pool, (height, width)

    def __call__(
        self,
        x: Float[Array, "n h w c"],
        *,
        train: bool = False,
        key: Key[Array, ""] | None = None,
        mask: Bool[Array, " n"] | None = None,
    ) -> Float[Array, "n k"]:
        """Logits of a batch of images of the size the model was built for."""
        if x.shape[1:3] != self.image_size:
            raise InvalidArgument(
                f"CNN got images of {x.shape[1]}x{x.shape[2]} pixels but was built for "
                f"{self.image_size[0]}x{self.image_size[1]}; resize them or pass image_size to the model."
            )
        x = self.features(x, train=train, mask=mask)[-1][1]
        x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
        x = self.dropout(ops.relu(self.fc1(x)), train=train, key=key)
        return self.fc2(x)

    def features(
        self, x: Float[Array, "n h w c"], *, train: bool = False, mask: Bool[Array, " n"] | None = None
    ) -> list[tuple[str, Float[Array, "n _ _ _"]]]:
        """The activations after each of the two stages, with their names, in order."""
        activations = []
        for name, conv, norm in (("stage1", self.conv1, self.bn1), ("stage2", self.conv2, self.bn2)):
            x = conv(x)
            if norm is not None:
                x = norm(x, train=train, mask=mask)
            x = ops.max_pool2d(ops.relu(x), self.pool)
            activations.append((name, x))
        return activations
