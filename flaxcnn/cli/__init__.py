"""The command `flaxcnn`: train, eval, predict, models, data."""

from flaxcnn.cli.main import main

__all__ = ["main"]
