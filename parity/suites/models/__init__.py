"""The suite `models`."""
