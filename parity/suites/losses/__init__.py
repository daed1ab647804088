"""The suite `losses`."""
