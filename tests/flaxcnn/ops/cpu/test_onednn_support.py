"""Where calls of oneDNN may be made: the switch, the versions, the probe in another process, its kept result."""

import json

import pytest

from flaxcnn.ops.cpu import onednn_support


@pytest.fixture(autouse=True)
def _fresh(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(onednn_support.SWITCH, raising=False)
    onednn_support._support.cache_clear()
    yield
    onednn_support._support.cache_clear()


def version(monkeypatch, name):
    monkeypatch.setattr(onednn_support.jaxlib, "__version__", name)


def probes(monkeypatch, *answers):
    left = list(answers)
    monkeypatch.setattr(onednn_support, "_probe", lambda: left.pop(0))
    return left


def test_the_switch_is_obeyed_without_a_try(monkeypatch):
    probes(monkeypatch)
    monkeypatch.setenv(onednn_support.SWITCH, "0")
    assert onednn_support.support() == (False, "FLAXCNN_ONEDNN=0")


def test_a_wrong_switch_is_refused(monkeypatch):
    monkeypatch.setenv(onednn_support.SWITCH, "yes")
    with pytest.raises(ValueError, match="FLAXCNN_ONEDNN is 'yes': give 0"):
        onednn_support.support()


def test_a_version_that_was_not_tested_is_tried_only_when_asked(monkeypatch):
    left = probes(monkeypatch, True)
    version(monkeypatch, "9.9.9")
    assert not onednn_support.is_available()
    assert "9.9.9 was not tested" in onednn_support.support().reason
    assert left == [True]
    monkeypatch.setenv(onednn_support.SWITCH, "1")
    assert onednn_support.is_available()


@pytest.mark.parametrize("answer", [True, False])
def test_it_is_tried_once_for_a_version_and_kept(monkeypatch, tmp_path, answer):
    left = probes(monkeypatch, answer)
    version(monkeypatch, onednn_support.TESTED[0])
    assert onednn_support.is_available() is answer
    onednn_support._support.cache_clear()  # another process
    assert onednn_support.is_available() is answer
    assert left == []
    (kept,) = (tmp_path / "flaxcnn").iterdir()
    assert json.loads(kept.read_text()) == {"right": answer}


def test_what_is_damaged_is_tried_again(monkeypatch, tmp_path):
    probes(monkeypatch, False, True)
    version(monkeypatch, onednn_support.TESTED[0])
    onednn_support.support()
    (kept,) = (tmp_path / "flaxcnn").iterdir()
    kept.write_text("{")
    onednn_support._support.cache_clear()
    assert onednn_support.is_available()


def test_without_a_folder_each_process_tries(monkeypatch, tmp_path):
    (tmp_path / "flaxcnn").write_text("a file")
    left = probes(monkeypatch, True, True)
    version(monkeypatch, onednn_support.TESTED[0])
    for _ in range(2):
        onednn_support._support.cache_clear()
        assert onednn_support.is_available()
    assert left == []


@pytest.mark.slow
@pytest.mark.parametrize("code", ["import os; os.abort()", "raise SystemExit(1)"])
def test_a_crash_of_the_try_out_is_an_answer(monkeypatch, code):
    run = onednn_support.subprocess.run
    monkeypatch.setattr(
        onednn_support.subprocess, "run", lambda command, **options: run([command[0], "-c", code], **options)
    )
    assert not onednn_support._probe()


@pytest.mark.slow
def test_the_try_out_passes_on_a_tested_version():
    if onednn_support.jaxlib.__version__ not in onednn_support.TESTED:
        pytest.skip("this version of jaxlib is not among the tested ones")
    assert onednn_support._probe()
