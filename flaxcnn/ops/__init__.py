"""Pure array functions of a CNN: each with its forward rule and its backward rule derived by hand."""

from flaxcnn.ops.activation import relu
from flaxcnn.ops.adaptive_pooling import adaptive_avg_pool2d
from flaxcnn.ops.average_pooling import avg_pool2d
from flaxcnn.ops.batch_normalisation import batch_moments, batch_norm
from flaxcnn.ops.convolution import conv2d
from flaxcnn.ops.cross_entropy import cross_entropy
from flaxcnn.ops.dense import dense
from flaxcnn.ops.dropout import dropout, dropout_mask
from flaxcnn.ops.max_pooling import max_pool2d
from flaxcnn.ops.penalties import l1_penalty, l2_penalty

__all__ = [
    "adaptive_avg_pool2d",
    "avg_pool2d",
    "batch_moments",
    "batch_norm",
    "conv2d",
    "cross_entropy",
    "dense",
    "dropout",
    "dropout_mask",
    "l1_penalty",
    "l2_penalty",
    "max_pool2d",
    "relu",
]
