"""What a run costs beside its training steps: starting, compiling, feeding the device, evaluating."""
