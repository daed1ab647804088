"""Pure array functions of a CNN: each with its forward rule and its backward rule derived by hand."""

from flaxcnn.ops.activation import relu, relu_backward
from flaxcnn.ops.adaptive_pooling import adaptive_avg_pool2d, adaptive_avg_pool2d_backward
from flaxcnn.ops.average_pooling import avg_pool2d, avg_pool2d_backward
from flaxcnn.ops.batch_normalisation import batch_moments, batch_norm
from flaxcnn.ops.batch_normalisation_backward import batch_norm_backward, batch_norm_eval_backward
from flaxcnn.ops.convolution import conv2d, conv2d_backward
from flaxcnn.ops.cpu.choice import fast_rules
from flaxcnn.ops.cross_entropy import cross_entropy, cross_entropy_backward
from flaxcnn.ops.dense import dense, dense_backward
from flaxcnn.ops.distillation import distillation, distillation_backward
from flaxcnn.ops.dropout import dropout, dropout_backward, dropout_mask
from flaxcnn.ops.max_pooling import max_pool2d, max_pool2d_backward
from flaxcnn.ops.penalties import l1_penalty, l1_penalty_backward, l2_penalty, l2_penalty_backward
from flaxcnn.ops.rounding import rounded, rounded_backward

__all__ = [
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_moments",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_eval_backward",
    "conv2d",
    "conv2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dense",
    "dense_backward",
    "distillation",
    "distillation_backward",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "fast_rules",
    "l1_penalty",
    "l1_penalty_backward",
    "l2_penalty",
    "l2_penalty_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "relu",
    "relu_backward",
    "rounded",
    "rounded_backward",
]
