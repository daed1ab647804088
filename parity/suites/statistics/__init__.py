"""The suite `statistics`."""
