"""`flaxcnn doctor`: every fast path has a reason, the switch shows, JSON is whole."""

import json

import jax
import pytest

from flaxcnn.cli import doctor, huge_pages, main
from flaxcnn.ops.cpu.choice import RULES


@pytest.fixture(autouse=True)
def _switched_off(monkeypatch):
    monkeypatch.setenv("FLAXCNN_ONEDNN", "0")  # nothing is tried out


def test_every_rule_is_named_with_its_reason(capsys):
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["jax"] == jax.__version__
    assert set(RULES) | {"huge pages"} == set(found["fast_paths"])
    assert all(path["reason"] for path in found["fast_paths"].values())
    assert found["fast_paths"]["onednn"] == {"on": False, "reason": "FLAXCNN_ONEDNN=0"}
    assert found["fast_paths"]["winograd"]["on"] is (jax.default_backend() == "cpu")


def test_the_tables_say_the_same(capsys):
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert "FLAXCNN_ONEDNN=0" in text
    assert "winograd" in text
    assert "compiled programs" in text


def test_a_wrong_switch_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setenv("FLAXCNN_ONEDNN", "maybe")
    assert main(["doctor"]) == 1
    assert capsys.readouterr().err == (
        "flaxcnn: FLAXCNN_ONEDNN is 'maybe': give 0 (off) or 1 (on, whatever the version of jaxlib).\n"
    )


def test_sizes_are_those_of_the_files(monkeypatch, tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "program").write_bytes(b"12345")
    assert doctor._size(str(tmp_path), "compiled programs") == 5
    assert doctor._size(None, "compiled programs") == 0
    assert doctor._size(str(tmp_path / "absent"), "compiled programs") == 0


@pytest.mark.parametrize(
    ("mode", "given", "on"),
    [
        ("always [madvise] never", "", True),
        ("[always] madvise never", "", True),
        ("always madvise [never]", "", False),
        ("", "", False),
        ("always [madvise] never", "glibc.malloc.hugetlb=0", False),
        ("always [madvise] never", "glibc.malloc.hugetlb=1", True),
    ],
)
def test_huge_pages_say_what_the_system_gives(mode, given, on):
    state = huge_pages.state({huge_pages.VARIABLE: given}, mode)
    assert state["on"] is on
    assert state["reason"]
