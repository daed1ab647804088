"""The command `flaxcnn`: train, eval, predict, models, data, doctor."""

from flaxcnn.cli.main import main

__all__ = ["main"]
