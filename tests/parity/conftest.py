"""Makes `parity_models`, which several test files share, importable from them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

# What a probe finds is tested there, and in the suites; elsewhere probes would take as long again.
PROBED = ("probe", "suites", "cli", "report")


@pytest.fixture(autouse=True)
def _without_probes(request, monkeypatch):
    """Leave the probes of a check out, but where they are the matter."""
    if request.path.parent.name in PROBED or request.node.get_closest_marker("probes"):
        return
    engine = sys.modules.get("parity.engine")
    if engine is not None:
        monkeypatch.setattr(engine.Engine, "_probe", lambda self, mode, modes: None)
