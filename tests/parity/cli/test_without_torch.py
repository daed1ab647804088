"""Without the packages of an extra, a command says in one sentence how to install them."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "tensorflow_datasets", "array_record"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import flaxcnn.cli, parity.cli
codes = []
for line in sys.stdin.read().splitlines():
    program, *arguments = line.split()
    codes.append({"flaxcnn": flaxcnn.cli, "parity": parity.cli}[program].main(arguments))
print(codes)
"""
SIDES = "--torch torchvision.models:resnet18 --flax flaxcnn.models:resnet18 --input 4x3x32x32"
COMMANDS = f"""parity check {SIDES}
parity capture --torch torchvision.models:resnet18 --input 4x3x32x32 --out captured
parity suite quick
parity convert . b.pth
flaxcnn train --data tfds:cifar10
flaxcnn data prepare digits --out prepared"""


@pytest.mark.slow
def test_a_missing_extra_is_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED],
        input=COMMANDS,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[2, 2, 2, 2, 1, 1]\n"
    lines = done.stderr.splitlines()
    assert (
        lines[:4] == ["parity: this needs torch, which is not installed: pip install 'flaxcnn[parity]'"] * 4
    )
    assert all("pip install 'flaxcnn[tfds]'" in line for line in lines[4:]) and len(lines) == 6
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
