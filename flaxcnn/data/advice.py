"""What is odd about a data set and may be meant so: said before a run, not refused."""

import numpy as np

from flaxcnn.data.errors import DataError
from flaxcnn.data.examination import some
from flaxcnn.data.source import DatasetInfo, all_labels, digests_of
from flaxcnn.data.splits import STRATIFY_LIMIT, Splits


def require_classes(info: DatasetInfo) -> None:
    """Raise a DataError if there is nothing to tell apart."""
    if info.num_classes < 2:
        raise DataError(
            f"{info.name} has only one class ({', '.join(info.class_names)}), but a classifier tells at least two "
            "apart; of a folder, name the one that holds the folders of the classes."
        )


def advice(splits: Splits) -> list[str]:
    """Return a sentence for each oddity: classes without a training image, and copies in two splits."""
    found = []
    if len(splits.train) <= STRATIFY_LIMIT:
        counts = np.bincount(all_labels(splits.train), minlength=splits.info.num_classes)
        empty = [name for name, count in zip(splits.info.class_names, counts, strict=True) if count == 0]
        if empty:
            found.append(
                f"No training image is of the class {some(empty)}: the model cannot learn to name it."
            )
    digests = digests_of(splits.train)
    trained = set(digests or ())
    for role in ("validation", "test"):
        source = splits.sources().get(role)
        if source is None or not trained:
            continue
        copies = sum(digest in trained for digest in digests_of(source) or ())
        if copies:
            found.append(f"{copies:,} of {len(source):,} {role} images are exact copies of training images.")
    return found
