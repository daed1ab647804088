"""The order of an epoch, read back from the batches of a source whose labels are its positions."""

import itertools

import numpy as np

# Epochs with one seed; more epochs use more seeds.
EPOCHS = 50


def epochs(seed: int, count: int, size: int) -> np.ndarray:
    """The permutations of `count` epochs [count size]: every seed's first epochs, seed after seed."""
    from flaxcnn.data import ArraySource, DatasetInfo, batches

    names = tuple(str(number) for number in range(size))
    info = DatasetInfo("positions", size, names, (1, 1, 1))
    source = ArraySource(np.zeros((size, 1, 1, 1), np.uint8), np.arange(size, dtype=np.int32), info)
    permutations = np.empty((count, size), int)
    for number in range(count):
        of_seed, epoch = seed + number // EPOCHS, number % EPOCHS
        # A batch size that does not divide the epoch: the last, padded batch is part of the order.
        parts = batches(source, size - 1, shuffle=True, seed=of_seed, epoch=epoch, workers=0)
        permutations[number] = np.concatenate([part["label"][part["mask"]] for part in parts])
    return permutations


def numbers(permutations: np.ndarray) -> np.ndarray:
    """The number of each permutation [count size] in lexicographic order."""
    size = permutations.shape[1]
    by_order = {order: number for number, order in enumerate(itertools.permutations(range(size)))}
    return np.array([by_order.get(tuple(order.tolist()), -1) for order in permutations])


def first_of_consecutive_epochs(permutations: np.ndarray) -> np.ndarray:
    """The first items of every two consecutive epochs as one number."""
    first = permutations[:, 0]
    return first[0::2] * permutations.shape[1] + first[1::2]
