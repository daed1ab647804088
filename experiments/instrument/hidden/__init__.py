"""Differences that one run on one input does not show, planted in small networks: what the probes are for."""
