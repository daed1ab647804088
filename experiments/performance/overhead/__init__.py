"""The cost of a run beside its training steps: starting, compiling, feeding the device, evaluating."""
