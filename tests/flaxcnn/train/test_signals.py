"""Runs that Ctrl-C or SIGTERM stops, at a step or between the steps, and that go on: the same end, bit for bit."""

import os
import signal
from pathlib import Path

import pytest
from run_results import result

from flaxcnn.train import run
from flaxcnn.train.interrupts import InterruptedRun
from flaxcnn.train.loop import Trainer


class Interrupting:
    """A function that sends this process a signal at its `at`-th call, then does its work."""

    def __init__(self, function, at, number=signal.SIGINT):
        self.function, self.at, self.number, self.calls = function, at, number, 0
        self.compile_seconds, self.compilations = 0.0, 1

    def __call__(self, *arguments, **options):
        self.calls += 1
        if self.calls == self.at:
            os.kill(os.getpid(), self.number)
        return self.function(*arguments, **options)


@pytest.mark.parametrize("at", [1, 4, 5, 6, 9, 10])
def test_ctrl_c_at_a_step_is_honoured_and_gone_on_from(quick, job_config, tmp_path, monkeypatch, at):
    """1 compiles; 5 is the last step of an epoch, 10 the last of all: after it, Orbax could not save again."""
    run.train(job_config.replace(out=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        patched.setattr(run, "set_up", lambda config, loaded, **options: interrupting(quick(config), at))
        with pytest.raises(
            InterruptedRun, match=r"Interrupted .*go on with: flaxcnn train --resume"
        ) as caught:
            run.train(job_config)
    assert caught.value.signal == signal.SIGINT
    assert ("before the first step" in str(caught.value)) == (at == 1)
    run.resume(job_config.run.out)
    assert result(job_config.run.out) == result(tmp_path / "whole")


def interrupting(job, at):
    object.__setattr__(job, "train_step", Interrupting(job.train_step, at))
    return job


@pytest.mark.parametrize(
    ("owner", "name", "at", "sentence"),
    [
        (run, "set_up", 1, "before the run began; nothing was written"),
        (Trainer, "evaluate_both", 1, "in epoch 1 after step 5"),  # while validating
        (Trainer, "evaluate_both", 2, "in epoch 2 after step 10"),
        (Trainer, "evaluate_both", 3, "The training is finished and saved"),  # while testing
        (Trainer, "_rank", 2, "The training is finished and saved"),  # after all steps, before the test
        (run, "_summary", 1, "The training is finished and saved"),
    ],
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_between_the_steps_is_honoured(
    quick, job_config, tmp_path, monkeypatch, owner, name, at, sentence, number
):
    """Before, it was taken and forgotten, and the run went on to exit 0."""
    run.train(job_config.replace(out=str(tmp_path / "whole")))
    with monkeypatch.context() as patched:
        patched.setattr(owner, name, interrupting_at(getattr(owner, name), at, number))
        with pytest.raises(InterruptedRun, match=sentence) as caught:
            run.train(job_config)
    assert caught.value.signal == number
    if name == "set_up":
        assert not Path(job_config.run.out).exists()
        return
    run.resume(job_config.run.out)
    assert result(job_config.run.out) == result(tmp_path / "whole")


def interrupting_at(function, at, number):
    """A function again, which Python binds to its object where it is a method."""
    made = Interrupting(function, at, number)

    def called(*arguments, **options):
        return made(*arguments, **options)

    return called
