"""Derivatives, by hand and by machine."""
