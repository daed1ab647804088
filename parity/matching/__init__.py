"""Matches the modules, calls and weights of the two sides, and converts between their layouts."""
