"""Accuracy, and the time it takes."""
