"""Numbers about pairs of tensors; nothing here knows a threshold."""
