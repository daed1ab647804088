"""The workloads that are measured: networks, batches and sizes of images."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Workload:
    """One network on one shape of batch.

    Attributes:
        network: resnet18, resnet34 (stem for small images), resnet50 (stem for large ones) or cnn.
        batch: images per step.
        size: height and width of the images in pixels.
        precision: float32, or tf32 for products of float32 numbers on a GPU.
    """

    network: str
    batch: int
    size: int
    precision: str = "float32"

    @property
    def name(self) -> str:
        """The name on the command line."""
        name = f"{self.network}-{self.batch}-{self.size}"
        return name if self.precision == "float32" else f"{name}-{self.precision}"

    @property
    def channels(self) -> int:
        """Channels of the images."""
        return 1 if self.network == "cnn" else 3

    def batch_of(self, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Images [n, h, w, c], normally distributed in float32, and labels [n] of ten classes."""
        generator = np.random.default_rng(seed)
        images = generator.normal(size=(self.batch, self.size, self.size, self.channels)).astype(np.float32)
        return images, generator.integers(0, 10, self.batch).astype(np.int32)


# Every side is measured on these.
WHOLE = (
    *(Workload("resnet18", batch, 32) for batch in (32, 64, 128)),
    Workload("resnet50", 16, 96),
    Workload("cnn", 128, 28),
)
# They show how the cost grows with the batch, the size of the image and the depth. Only some sides are measured.
GROWTH = (
    Workload("resnet18", 256, 32),
    Workload("resnet18", 64, 24),
    Workload("resnet18", 64, 48),
    Workload("resnet34", 64, 32),
)
WORKLOADS = (*WHOLE, *GROWTH)


def named(name: str) -> Workload:
    """The workload of the name NETWORK-BATCH-SIZE or NETWORK-BATCH-SIZE-tf32.

    Raises:
        ValueError: the name has another form, or the network is unknown.
    """
    network, *numbers = name.removesuffix("-tf32").split("-")
    known = {workload.network for workload in WORKLOADS}
    if network not in known or len(numbers) != 2 or not all(n.isdecimal() and int(n) for n in numbers):
        raise ValueError(
            f"There is no workload {name!r}; write NETWORK-BATCH-SIZE, for example resnet18-64-32, with one of "
            f"{', '.join(sorted(known))}."
        )
    batch, size = map(int, numbers)
    return Workload(network, batch, size, "tf32" if name.endswith("-tf32") else "float32")
