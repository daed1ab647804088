"""What a source has in common with the source that it wraps."""

from flaxcnn.data.source import DatasetInfo, Labels, Source, all_labels, content_hash, origin


class WrappedSource:
    """All of a source but its images, as another source has it.

    Args:
        source: the other one.
        info: the description of the data set, if it is another one.
    """

    def __init__(self, source: Source, info: DatasetInfo | None = None) -> None:
        """Hold the source."""
        self._source, self._info = source, source.info if info is None else info

    @property
    def info(self) -> DatasetInfo:
        """The description of the data set."""
        return self._info

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self._source)

    def labels(self) -> Labels:
        """Return all labels."""
        return all_labels(self._source)

    def content(self) -> str:
        """Return the hash of what it wraps."""
        return content_hash(self._source)

    def origin(self, index: int) -> str:
        """The origin of an image, which is that in the wrapped source."""
        return origin(self._source, index)
