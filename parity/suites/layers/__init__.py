"""The suite `layers`."""
