"""The 8x8 handwritten digits that ship inside scikit-learn: the default data set, nothing to download."""

import numpy as np

from flaxcnn.data.source import ArraySource, DatasetInfo


def load_digits() -> ArraySource:
    """Return the 1,797 digits as uint8[1797 8 8 1].

    The pixels count ink in 0 .. 16; they are scaled by 255 / 16 and rounded, so that white is 255.

    Reference: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.
    """
    from sklearn.datasets import load_digits as sklearn_digits

    pixels, labels = sklearn_digits(return_X_y=True)
    images = np.rint(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    info = DatasetInfo(
        name="digits",
        num_classes=10,
        class_names=tuple("0123456789"),
        image_shape=(8, 8, 1),
        description="Optical recognition of handwritten digits, from scikit-learn",
    )
    return ArraySource(images, labels, info)
