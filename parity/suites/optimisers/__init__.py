"""The suite `optimisers`."""
