"""Whole training runs in both frameworks: `python -m experiments.instrument.trajectories`."""
