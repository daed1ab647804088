"""Pictures of training and of what a model has learnt, as PNG files. Matplotlib is imported on first use."""

from flaxcnn.plots.activations import feature_maps
from flaxcnn.plots.confusion import confusion_matrix
from flaxcnn.plots.curves import learning_curves
from flaxcnn.plots.filters import first_layer_filters
from flaxcnn.plots.rates import learning_rates
from flaxcnn.plots.wrong import most_confidently_wrong

__all__ = [
    "confusion_matrix",
    "feature_maps",
    "first_layer_filters",
    "learning_curves",
    "learning_rates",
    "most_confidently_wrong",
]
