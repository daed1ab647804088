"""Signals: answered at once, honoured always, and given back."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flaxcnn.train.interrupts import InterruptedRun, StopRequest


def long_call():
    """About a second in C, in which Python runs no handler in this thread."""
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000)


def test_the_answer_comes_while_the_main_thread_computes():
    answers = []
    with StopRequest(lambda sentence: answers.append((time.monotonic(), sentence))) as stop:
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        long_call()
        computed = time.monotonic()
    ((answered, sentence),) = answers
    assert answered < computed
    assert sentence.startswith("SIGINT: stopping")
    assert stop.signal == signal.SIGINT


def test_inside_immediate_the_first_signal_ends_the_block():
    reached = []
    sentence = "Nothing was written"
    with StopRequest() as stop, pytest.raises(InterruptedRun) as caught, stop.immediate(sentence):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
        reached.append("the end")
    assert str(caught.value) == sentence
    assert caught.value.signal == signal.SIGTERM
    assert not reached


def test_a_signal_of_before_or_one_that_a_library_swallows_ends_the_block_too():
    with StopRequest() as stop:
        with pytest.raises(InterruptedRun), stop.immediate("swallowed"):
            try:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(5)
            except KeyboardInterrupt:
                pass
        with pytest.raises(InterruptedRun, match="before"), stop.immediate("before"):
            raise AssertionError("the block was entered")


def test_other_errors_pass_through_immediate():
    with StopRequest() as stop:
        with pytest.raises(KeyError), stop.immediate("x"):
            raise KeyError
        with pytest.raises(KeyboardInterrupt), stop.immediate("x"):
            raise KeyboardInterrupt  # not by a signal that was seen


def test_handlers_are_given_back_when_the_outermost_ends():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    threads = threading.active_count()
    stop = StopRequest()
    with stop:
        with stop:
            pass
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert threading.active_count() == threads
    assert signal.set_wakeup_fd(-1) == -1


def test_another_thread_takes_no_signals():
    seen = []

    def use():
        with StopRequest() as stop:
            seen.append(stop.signal)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert seen == [None]


@pytest.mark.slow
def test_a_second_ctrl_c_leaves_a_computation_that_cannot_be_interrupted():
    program = (
        "import hashlib\n"
        "from flaxcnn.train.interrupts import StopRequest\n"
        "with StopRequest(lambda line: print(line, flush=True), leaves=True):\n"
        "    print('ready', flush=True)\n"
        "    hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline().startswith("SIGINT: stopping")
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert rest.startswith("stopped at once")
