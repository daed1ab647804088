"""The pipeline, top to bottom: capture, carry the weights, align, run free and forced, measure, judge, save."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from parity.capture.memory import old_objects_aside
from parity.verdict.judge import judge
from parity.verdict.policy import Policy
from parity.verdict.record import Report


def check(
    torch_model: Any,
    flax_model: Any,
    inputs: Any = None,
    *,
    mode: str = "both",
    seed: int = 0,
    map: Any = None,
    accept: tuple[str, ...] = (),
    out: str | Path | None = None,
    policy: Policy | None = None,
    probes: bool = True,
    sizes: Literal["probe", "same"] = "probe",
    objective: str = "projection",
    perturb: bool = True,
    flax_train: dict[str, Any] | None = None,
    flax_eval: dict[str, Any] | None = None,
    output: str | None = None,
    redraw: Callable[[int], tuple[Any, Any]] | None = None,
) -> Report:
    """Prove a Flax model equal to a PyTorch model, layer by layer, or find where it is not.

    Both run in float32 and in float64, forward and backward, from PyTorch's weights; see `parity.verdict.policy` for
    the rule of the verdict. Neither model is changed.

    Args:
        torch_model: an `nn.Module`, or the folder that `capture_reference` wrote in another process.
        flax_model: an `nnx.Module`, a Linen module, or `(linen_module, variables)`.
        inputs: a shape "4x3x64x64" (PyTorch's), a .npy or .npz file, an array, or a list of arrays; not
            needed with a captured folder. Images reach Flax as NHWC.
        mode: "train", "eval" or "both".
        seed: of inputs, objective and perturbation.
        map: PyTorch path -> Flax path, or a JSON file of that, where names and order do not tell.
        accept: ids of the defect catalogue that are intended.
        out: a folder for `report.json`, `measurements.json` and the worst tensors.
        policy: thresholds of the judge.
        probes: look beyond these inputs too: at other values, sizes, draws and steps. Without, the report speaks of
            these inputs only, in about half of the time.
        sizes: "probe" compares the models on inputs of other sizes too, "same" on those that are given only.
        objective: "projection" or "cross-entropy".
        perturb: give random values to constant parameters first, so that zero scales hide nothing.
        flax_train, flax_eval: arguments of the Flax model's call, or fields of the model, that put it into train or
            eval mode; needed only where neither name nor effect tells. A boolean is needed for one mode only.
        output: the part of the models' outputs that is compared (a key, field or position); by default all tensors.
        redraw: builds both models again with another seed: parameters of few elements say little about the distribution
            that their initial values come from.

    Raises:
        CannotCompare: the models cannot be compared; the message is one sentence.
    """
    from parity.engine import Engine

    engine = Engine.start(
        torch_model,
        flax_model,
        inputs,
        seed=seed,
        mapping=map,
        objective=objective,
        perturbed=perturb,
        policy=policy or Policy(),
        sizes=sizes,
        probing=probes,
        settings=None if flax_train is None and flax_eval is None else (flax_train or {}, flax_eval or {}),
        output=output,
        redraw=redraw,
    )
    with old_objects_aside():
        measurements, tensors = engine.measure(mode)
    report = judge(measurements, policy, tuple(accept))
    if out is not None:
        directory = Path(out)
        measurements.save(directory)
        tensors.save(directory, report)
        report.save(directory)
    return report


def assert_equivalent(torch_model: Any, flax_model: Any, inputs: Any = None, **options: Any) -> Report:
    """`check`, for a test: the report if the verdict is *equivalent*.

    Raises:
        AssertionError: the models diverge, or too little was exercised; the message says where and what.
        CannotCompare: as `check`.
    """
    report = check(torch_model, flax_model, inputs, **options)
    if report.verdict != "equivalent":
        from parity.report import terminal

        raise AssertionError(f"{report.summary()}\n\n{terminal.text(report)}")
    return report


def capture_reference(
    torch_model: Any,
    inputs: Any,
    directory: str | Path,
    *,
    mode: str = "both",
    seed: int = 0,
    objective: str = "projection",
    perturb: bool = True,
) -> None:
    """Capture the PyTorch side into a folder, for `check` in a process that need not hold the model.

    Raises:
        CannotCompare: the model cannot be run on these inputs.
    """
    from parity.capture.inputs import read_inputs
    from parity.capture.reference import reference_of
    from parity.engine import modes_of

    arrays = read_inputs(inputs, seed)
    reference = reference_of(torch_model, arrays, seed=seed, objective=objective, perturbed=perturb)
    reference.save(Path(directory), modes_of(mode))
