"""Whether runs survive: processes that are killed, odd paths, a disk that is full."""
