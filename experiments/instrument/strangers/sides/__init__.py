"""Factories that construct the strangers' models, as small as their own settings allow, and change nothing in them.

A factory imports the stranger's modules when it is called: they are in the folder that the user fetched.
"""

import importlib
from typing import Any


def of(module: str, name: str) -> Any:
    """A class or function of a stranger's module."""
    return getattr(importlib.import_module(module), name)
