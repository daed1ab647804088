"""The suite `augmentation`."""
