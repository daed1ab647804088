"""Operations and bytes of the compiled training step, counted in its HLO: a regression shows without a clock.

    python -m experiments.performance.compiled_cost  compile and count, a minute or so; store for this version of jax
    python -m experiments.performance.compiled_cost --tables  run nothing; show what is stored

Two things are counted: the multiplications and additions of matrix products and convolutions, oneDNN's included, and
the bytes that the instructions outside fusions read and write. Each counts as often as the loops around it run. XLA's
own `cost_analysis` counts the body of a loop only once. The counts depend only on the versions of jax and jaxlib;
`tests/experiments/performance/test_compiled_cost.py` holds them against the record.
"""

import argparse
import dataclasses
import math
import re
import sys
from typing import Any

from experiments import markdown, record
from experiments.performance.throughput.networks import Workload
from flaxcnn.ops.cpu.onednn import PREFIX

NAME, COMMAND = "compiled_cost", "python -m experiments.performance.compiled_cost"
WORKLOAD = Workload("resnet18", 8, 32)
_BYTES = {"pred": 1, "s8": 1, "u8": 1, "s32": 4, "u32": 4, "f32": 4, "s64": 8, "u64": 8, "f64": 8}
# Instructions that move no bytes.
_FREE = ("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "after-all")
_HEADER = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.+?) ([a-z][\w\-]*)\((.*)$")
_SHAPE = re.compile(r"([a-z]+\d*)\[([\d,]*)\]")


@dataclasses.dataclass
class Cost:
    """The work of a program.

    Attributes:
        flop: operations of matrix products and convolutions.
        bytes: bytes read and written outside fusions.
        instructions: the number of instructions that are run.
    """

    flop: int = 0
    bytes: int = 0
    instructions: int = 0

    def add(self, other: "Cost", times: int) -> None:
        """Add the cost of a program that is run `times` times."""
        self.flop += other.flop * times
        self.bytes += other.bytes * times
        self.instructions += other.instructions * times


def cost_of(text: str) -> Cost:
    """Count a compiled module, as `compiled.as_text()` prints it."""
    computations, entry = _computations(text)
    return _cost(entry, computations, fused=False)


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The lines of every computation, and the name of the entry."""
    computations: dict[str, list[str]] = {}
    name = entry = ""
    for line in text.splitlines():
        if header := _HEADER.match(line):
            name = header[1]
            computations[name] = []
            entry = name if line.startswith("ENTRY") else entry
        elif name and line.startswith(" "):
            computations[name].append(line)
    return computations, entry


def _cost(name: str, computations: dict[str, list[str]], *, fused: bool) -> Cost:
    total, shapes = Cost(), {}
    for line in computations[name]:
        if not (match := _INSTRUCTION.match(line)):
            continue
        result, kind, operation, rest = match.groups()
        shapes[result] = kind
        if operation in ("dot", "convolution"):
            total.flop += _flop(operation, kind, rest, shapes)
        if operation == "custom-call" and PREFIX in rest:
            total.flop += _flop_of_call(kind, rest, shapes)
        for inner, times in _called(operation, rest):
            total.add(_cost(inner, computations, fused=fused or operation == "fusion"), times)
        if not fused and operation not in _FREE:
            total.instructions += 1
            total.bytes += _size(kind) + sum(_size(shapes.get(name, "")) for name in _operands(rest))
    return total


def _called(operation: str, rest: str) -> list[tuple[str, int]]:
    """The computations that an instruction runs, and how often; those of reductions are ignored."""
    if operation == "while":
        trips = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
        return [(re.search(r"body=%?([\w.\-]+)", rest)[1], int(trips[1]) if trips else 1)]
    name = "calls" if operation == "fusion" else "to_apply" if operation == "call" else None
    return [(re.search(rf"{name}=%?([\w.\-]+)", rest)[1], 1)] if name else []


def _operands(rest: str) -> list[str]:
    return re.findall(r"%([\w.\-]+)", rest.split("),", 1)[0])


def _dimensions(kind: str) -> list[int]:
    return [int(size) for size in _SHAPE.search(kind)[2].split(",") if size]


def _size(kind: str) -> int:
    return sum(
        _BYTES.get(dtype, 4) * math.prod(int(size) for size in sizes.split(",") if size)
        for dtype, sizes in _SHAPE.findall(kind)
    )


def _flop(operation: str, kind: str, rest: str, shapes: dict[str, str]) -> int:
    left, right, *_ = (_dimensions(shapes[name]) for name in _operands(rest))
    if operation == "dot":
        contracted = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", rest)[1]
        inner = math.prod(left[int(axis)] for axis in contracted.split(",") if axis)
    else:
        outputs = re.search(r"dim_labels=\w+_(\w+)->", rest)[1].index("o")
        inner = math.prod(size for axis, size in enumerate(right) if axis != outputs)
    return 2 * math.prod(_dimensions(kind)) * inner


def _flop_of_call(kind: str, rest: str, shapes: dict[str, str]) -> int:
    """The same for a call of oneDNN: a product of matrices [k, m] and [k, n], or a convolution."""
    left, right, *_ = (_dimensions(shapes[name]) for name in _operands(rest))
    out = _dimensions(kind)
    inner = left[-2] if f"{PREFIX}matmul" in rest else math.prod(right) // out[-1]
    return 2 * math.prod(out) * inner


def counted(rules: tuple[str, ...] | None) -> Cost:
    """The training step of `WORKLOAD` with these fast rules; all of them when None."""
    from experiments.performance.throughput.sides import Flaxcnn

    return cost_of(Flaxcnn(WORKLOAD, rules).compiled_step())


def main() -> int:
    """Count, store, print the table."""
    import jax

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tables", action="store_true", help="run nothing; show what is stored")
    if not parser.parse_args().tables:
        costs = {name: dataclasses.asdict(counted(rules)) for name, rules in (("fast", None), ("plain", ()))}
        record.write(NAME, COMMAND, {"versions": stored() | {jax.__version__: costs}})
    print(table())
    return 0


def stored() -> dict[str, Any]:
    """The recorded costs: by version of jax, for the fast and the plain rules."""
    try:
        return record.read(NAME)["versions"]
    except FileNotFoundError:
        return {}


def table() -> str:
    """A row for every version of jax and each kind of rules."""
    rows = [
        [version, rules, f"{c['flop'] / 1e9:.1f}", f"{c['bytes'] / 1e9:.1f}", f"{c['instructions']:,}"]
        for version, costs in stored().items()
        for rules, c in costs.items()
    ]
    text = markdown.rows(["jax", "rules", "GFLOP", "GB moved", "instructions"], rows)
    return f"{text}\n\nOne training step, {WORKLOAD.name} (network, batch, size of the image)."


if __name__ == "__main__":
    sys.exit(main())
