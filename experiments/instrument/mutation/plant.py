"""Plants a defect in a live function: replaces its code by the mutated code, and restores it.

Nothing is imported again, so every user of the function runs the mutated code: modules that imported it by name, JAX's
transformations of it, methods of existing objects, and the functions that it made before.
"""

import ast
import contextlib
import gc
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import jax

from experiments.instrument.mutation.find import Assigned, Mutant, mutated, source
from parity.errors import CannotCompare


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """Plant a mutant in flaxcnn for the duration of this block.

    Raises:
        CannotCompare: the source has no such mutant, or nothing live was made from that source.
    """
    module = module_of(mutant.file)
    tree, assigned = mutated(mutant, source(mutant.file))
    swap = _reassigned(module, assigned) if assigned else _swapped(module, mutant.function, tree)
    with swap, _no_compiled_programs():
        yield


@contextlib.contextmanager
def edited(module: ModuleType, function: str, old: str, new: str) -> Iterator[None]:
    """Replace `old` by `new` in a function's source for the duration of this block.

    Args:
        module: the module of the function.
        function: its qualified name.
        old: a text that its source contains once.
        new: the replacement.

    Raises:
        CannotCompare: the source does not hold `old`, or more than once.
    """
    text = Path(inspect.getsourcefile(module) or "").read_text()
    node = _definition(ast.parse(text), function)
    lines = text.splitlines(keepends=True)
    body = "".join(lines[node.lineno - 1 : node.end_lineno])
    if body.count(old) != 1:
        raise CannotCompare(
            f"{function} holds {old!r} {body.count(old)} times, but an edit needs exactly one."
        )
    before, after = "".join(lines[: node.lineno - 1]), "".join(lines[node.end_lineno :])
    tree = ast.parse(before + body.replace(old, new) + after)
    with _swapped(module, function, tree), _no_compiled_programs():
        yield


def module_of(file: str) -> ModuleType:
    """The module of a source file."""
    return importlib.import_module(file.removesuffix(".py").replace("/", "."))


def live_function(module: ModuleType, name: str) -> FunctionType:
    """The plain function under a qualified name, unwrapped from a property, jit, custom_jvp or a type checker.

    Raises:
        CannotCompare: there is none.
    """
    value: Any = module
    for part in name.split("."):
        value = vars(value).get(part)
    wrapped = True
    while wrapped:
        wrapped = False
        for attribute in ("__wrapped__", "fget", "__func__", "fun"):
            inner = getattr(value, attribute, None)
            if inner is not None:
                value, wrapped = inner, True
                break
    if not isinstance(value, FunctionType) or value.__code__.co_qualname != name:
        raise CannotCompare(f"{module.__name__} has no function {name} whose code could be changed.")
    return value


@contextlib.contextmanager
def _swapped(module: ModuleType, name: str, tree: ast.Module) -> Iterator[None]:
    """Give a function the code and the defaults that it has in another tree of its module."""
    function = live_function(module, name)
    code = _code(compile(tree, function.__code__.co_filename, "exec"), name)
    arguments = _definition(tree, name).args
    # Checked here, because a type checker's wrapper may have added a cell that the plain source lacks.
    if code.co_freevars != function.__code__.co_freevars:
        raise CannotCompare(f"{name} closes over other names than its source, so its code cannot be changed.")
    kept = function.__code__, function.__defaults__, function.__kwdefaults__
    defaults = tuple(_value(default, module) for default in arguments.defaults)
    keywords = {
        argument.arg: _value(default, module)
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        if default is not None
    }
    inner = _closures(function.__code__, code)
    before = [(closure, closure.__code__) for closure, _ in inner]
    try:
        function.__code__, function.__defaults__, function.__kwdefaults__ = code, defaults, keywords
        for closure, changed in inner:
            closure.__code__ = changed
        yield
    finally:
        function.__code__, function.__defaults__, function.__kwdefaults__ = kept
        for closure, original in before:
            closure.__code__ = original


def _closures(old: CodeType, new: CodeType) -> list[tuple[FunctionType, CodeType]]:
    """The functions that were made inside a function before, such as a rule of a primitive, and their changed code."""
    parts = [[inner for inner in code.co_consts if isinstance(inner, CodeType)] for code in (old, new)]
    # If an edit adds or removes a function, the functions cannot be paired.
    pairs = zip(*parts, strict=True) if len(parts[0]) == len(parts[1]) else ()
    changed = [pair for pair in pairs if pair[0] != pair[1]]
    if not changed:
        return []
    functions = [value for value in gc.get_objects() if type(value) is FunctionType]
    closures = []
    for before, after in changed:
        if before.co_freevars == after.co_freevars:
            closures += [(function, after) for function in functions if function.__code__ is before]
        closures += _closures(before, after)
    return closures


@contextlib.contextmanager
def _reassigned(module: ModuleType, assigned: Assigned) -> Iterator[None]:
    """Give a constant of a module or a class another value, or a field of a dataclass another default."""
    owner: Any = getattr(module, assigned.owner) if assigned.owner else module
    value = _value(assigned.value, module)
    kept = {name: vars(owner)[name] for name in assigned.names}
    with contextlib.ExitStack() as stack:
        for name in assigned.names:
            stack.callback(setattr, owner, name, kept[name])
            setattr(owner, name, value)
            if name in getattr(owner, "__dataclass_fields__", {}):
                stack.enter_context(_default(inspect.unwrap(owner.__init__), name, value))
        yield


@contextlib.contextmanager
def _default(function: FunctionType, name: str, value: object) -> Iterator[None]:
    """Give a positional argument of a function another default."""
    kept = function.__defaults__ or ()
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    number = arguments.index(name) - (len(arguments) - len(kept))
    function.__defaults__ = (*kept[:number], value, *kept[number + 1 :])
    try:
        yield
    finally:
        function.__defaults__ = kept


@contextlib.contextmanager
def _no_compiled_programs() -> Iterator[None]:
    """Use no program in this block that was traced outside, nor outside one that was traced in it."""
    jax.clear_caches()
    try:
        yield
    finally:
        jax.clear_caches()


def _definition(tree: ast.Module, name: str) -> ast.FunctionDef:
    body: list[ast.stmt] = tree.body
    *classes, last = name.split(".")
    for owner in classes:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == owner)
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == last:
            return node
    raise CannotCompare(f"The source has no function {name}.")


def _code(code: CodeType, name: str) -> CodeType:
    """The code of a function or method in the code of its module."""
    for inner in code.co_consts:
        if not isinstance(inner, CodeType):
            continue
        if inner.co_qualname == name:
            return inner
        if name.startswith(f"{inner.co_qualname}."):
            return _code(inner, name)
    raise CannotCompare(f"The source has no function {name}.")


def _value(node: ast.expr, module: ModuleType) -> Any:
    expression = ast.fix_missing_locations(ast.Expression(node))
    return eval(compile(expression, module.__name__, "eval"), vars(module))
