"""The command `flaxcnn`: train, eval, predict, weights, recipes, models, data, doctor."""

from flaxcnn.cli.main import main

__all__ = ["main"]
