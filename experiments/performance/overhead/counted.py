"""`flaxcnn train` with every compilation counted by JAX's monitoring.

python -m experiments.performance.overhead.counted FILE [FLAGS of flaxcnn train]
"""

import collections
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path

_COMPILED = "/jax/core/compile/backend_compile_duration"
_HIT = "/jax/compilation_cache/cache_hits"


@contextlib.contextmanager
def counting() -> Iterator[tuple[collections.Counter[str], collections.Counter[str]]]:
    """Count the compilations of every function in this block (a program from the cache counts too) and JAX's events."""
    from jax import monitoring

    programs: collections.Counter[str] = collections.Counter()
    events: collections.Counter[str] = collections.Counter()

    def duration(event: str, seconds: float, **tags: str | int) -> None:
        if event == _COMPILED:
            programs[str(tags.get("fun_name", "")).removeprefix("jit_").removeprefix("jit(").rstrip(")")] += 1

    def happened(event: str, **tags: str | int) -> None:
        events[event] += 1

    monitoring.register_event_duration_secs_listener(duration)
    monitoring.register_event_listener(happened)
    try:
        yield programs, events
    finally:
        monitoring.unregister_event_duration_listener(duration)
        monitoring.unregister_event_listener(happened)


def main() -> int:
    """Run the command, write the counts."""
    from flaxcnn.cli import main as command

    with counting() as (programs, events):
        code = command(["train", *sys.argv[2:]])
    counts = {"programs": dict(programs), "read_from_the_cache": events[_HIT]}
    Path(sys.argv[1]).write_text(json.dumps(counts))
    return code


if __name__ == "__main__":
    sys.exit(main())
