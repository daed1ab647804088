"""Training: state, step (pure), loop (the host side), evaluation, checkpoints, run folder."""
