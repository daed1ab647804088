"""`flaxcnn doctor`: what this machine has, which fast paths are on and why, and what is kept on disk."""

import argparse
import json
import os
from pathlib import Path
from typing import Any


def add_doctor(commands: Any) -> None:
    """The flags of `flaxcnn doctor`."""
    command = commands.add_parser(
        "doctor",
        help="show versions, devices, fast paths and caches",
        description="Show versions and devices, which fast paths are on and why, and the folders of caches.",
    )
    command.add_argument("--json", action="store_true", help="print one JSON object instead of tables")


def doctor(options: argparse.Namespace) -> int:
    """Print what was found out."""
    # Imported here, so that the parser, which imports this file, is there at once.
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    found = examined()
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    console = Console(soft_wrap=True, highlight=False)
    for title, rows in found.items():
        table = Table(title=title.replace("_", " "), show_header=False, title_justify="left")
        for name, value in rows.items():
            table.add_row(escape(name), escape(_words(value)))
        console.print(table)
    return 0


def examined() -> dict[str, dict[str, Any]]:
    """Machine and versions, fast paths with their reasons, and caches with their sizes in bytes."""
    from flaxcnn.train.environment import environment

    machine = environment()
    versions = machine.pop("versions")
    return {
        "machine": machine,
        "versions": versions,
        "fast_paths": fast_paths(),
        "caches": caches(),
    }


def fast_paths() -> dict[str, dict[str, Any]]:
    """Whether each fast path is on in `flaxcnn train`, and why."""
    import jax

    from flaxcnn.cli import huge_pages
    from flaxcnn.ops.cpu import onednn_support
    from flaxcnn.ops.cpu.choice import RULES

    on_cpu = jax.default_backend() == "cpu"
    place = "the default device is a CPU" if on_cpu else f"the default device is a {jax.default_backend()}"
    found = {
        name: {"on": on_cpu, "reason": place if on_cpu else f"{place}, where XLA's own path is taken"}
        for name in RULES
        if name != "onednn"
    }
    support = onednn_support.support() if on_cpu else onednn_support.Support(False, place)
    found["onednn"] = {"on": support.on, "reason": support.reason}
    found["huge pages"] = huge_pages.state(os.environ)
    return found


def caches() -> dict[str, dict[str, Any]]:
    """The folders in which something is kept, with their sizes in bytes."""
    import jax

    from flaxcnn.ops.cpu import onednn_support

    programs = jax.config.jax_compilation_cache_dir
    folders = {"compiled programs": programs, "try-outs of oneDNN": str(onednn_support.kept_in())}
    return {name: {"folder": folder, "bytes": _size(folder, name)} for name, folder in folders.items()}


def _size(folder: str | None, name: str) -> int:
    if folder is None:
        return 0
    wanted = "onednn-*" if name.startswith("try-outs") else "**/*"
    try:
        return sum(path.stat().st_size for path in Path(folder).glob(wanted) if path.is_file())
    except OSError:
        return 0


def _words(value: Any) -> str:
    if not isinstance(value, dict):
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if "on" in value:
        return f"{'on ' if value['on'] else 'off'}  {value['reason']}"
    size = value["bytes"]
    return f"{value['folder'] or 'off'}  ({size / 2**20:.1f} MiB)"
