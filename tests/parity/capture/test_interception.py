"""Calls of NNX modules are intercepted in one thread, and the classes are as before in the end."""

import threading

import jax.numpy as jnp
import pytest
from flax import nnx

from parity.capture.interception import intercepted


class Double(nnx.Module):
    def __call__(self, x):
        return x * 2


class Quadruple(Double):
    def __call__(self, x):
        return super().__call__(super().__call__(x))


def recorder(calls):
    def route(module, original, args, kwargs):
        calls.append(type(module).__name__)
        return original(module, *args, **kwargs)

    return route


def by_identity(*modules):
    return {id(module): module for module in modules}


def test_a_call_is_routed_once_and_its_super_calls_are_part_of_it():
    module, base, calls = Quadruple(), Double(), []
    # With one of the base class, whose `__call__` is replaced too.
    with intercepted(by_identity(module, base), recorder(calls)):
        assert float(module(jnp.ones(()))) == 4.0
        assert float(Double()(jnp.ones(()))) == 2.0  # not one of them
    assert calls == ["Quadruple"]


def test_inner_interceptions_come_first_and_classes_are_restored_after_the_last():
    module, outer, inner = Double(), [], []
    original = Double.__call__
    with intercepted(by_identity(module), recorder(outer)):
        with intercepted(by_identity(module), recorder(inner)):
            module(1.0)
        module(1.0)
        assert Double.__call__ is not original
    assert (inner, outer) == (["Double"], ["Double"])
    assert Double.__call__ is original


def test_an_error_restores_the_classes():
    original = Double.__call__
    with pytest.raises(ValueError, match="stop"), intercepted(by_identity(Double()), recorder([])):
        raise ValueError("stop")
    assert Double.__call__ is original


def test_threads_do_not_see_each_other_and_the_last_to_leave_restores():
    """Threads that replaced the class on their own restored each other's replacement, which then stayed for good."""
    original = Double.__call__
    module, calls = Double(), {"first": [], "second": []}
    inside, may_leave = threading.Event(), threading.Event()

    def second():
        with intercepted(by_identity(module), recorder(calls["second"])):
            inside.set()
            may_leave.wait(30)
            module(1.0)

    thread = threading.Thread(target=second)
    with intercepted(by_identity(module), recorder(calls["first"])):
        thread.start()
        assert inside.wait(30)
        module(1.0)
    assert Double.__call__ is not original
    assert module(1.0) == 2.0
    may_leave.set()
    thread.join()
    assert calls == {"first": ["Double"], "second": ["Double"]}
    assert Double.__call__ is original
