"""The suite `schedules`: every schedule of `flaxcnn.optim` against `torch.optim.lr_scheduler`, over 200 steps.

The learning rate is compared at each step. PyTorch's schedulers compute in Python's float64 and an optimiser rounds
the rate to the parameters' dtype: this is PyTorch's float32 value. flaxcnn computes in float32. The group `warm_up`
puts a `LinearLR` in front by a `SequentialLR`; `schedule_defaults` names no option that has a default. Cosine schedules
that go on after their end are compared with PyTorch's own closed form, since its recursion strays from that, as
`parity.suites.quirks` shows. Nothing is loaded before a case is built.
"""

from collections.abc import Callable

import numpy as np

from parity.comparison.direct import Compared
from parity.suites.case import Case
from parity.suites.options import SEED, Options, in_words

STEPS = 200
CASES_A_SCHEDULE = 6
QUICK_CASES = 1
NAMES = ("constant", "step", "multistep", "exponential", "linear", "cosine", "one_cycle")
GROUPS = (*NAMES, "warm_up", "schedule_defaults")
# Each schedule, and each function around a schedule, with its defaults.
_DEFAULTS: list[Options] = [
    {"schedule": "step", "step_size": 30},
    {"schedule": "multistep", "milestones": (20, 90)},
    {"schedule": "linear"},
    {"schedule": "cosine"},
    {"schedule": "one_cycle"},
    {"schedule": "constant", "warmup_steps": 50},
    {"schedule": "cosine", "warmup_steps": 50, "directly": True},
    {"schedule": "step", "step_size": 4, "interval": 7},
]


def schedule_cases() -> list[Case]:
    """Every case of the suite."""
    return [
        Case(
            name=f"{group}-{number:02d}",
            suite="schedules",
            group=group,
            quick=number <= QUICK_CASES,
            mode="train",
            build=_builder(options),
            detail=in_words(options if group not in NAMES else {**options, "schedule": None}),
        )
        for group in GROUPS
        for number, options in enumerate(schedule_options(group), start=1)
    ]


def schedule_options(group: str) -> list[Options]:
    """The settings of a group's cases, the same in every run; a warm-up goes before each schedule in turn."""
    if group == "schedule_defaults":
        return [{"base_lr": 0.3, "total_steps": STEPS} | options for options in _DEFAULTS]
    generator = np.random.default_rng([SEED, *group.encode()])
    count = len(NAMES) if group == "warm_up" else CASES_A_SCHEDULE
    cases: list[Options] = []
    while len(cases) < count:
        name = NAMES[len(cases)] if group == "warm_up" else group
        options = {"schedule": name} | _drawn(name, generator)
        if group == "warm_up":
            options |= {
                "warmup_steps": int(generator.integers(1, 60)),
                "warmup_start_factor": round(float(generator.uniform(0.01, 1)), 3),
            }
            # PyTorch jumps at the end of the warm-up where a linear schedule starts elsewhere: see quirks.
            options |= {"start_factor": 1.0} if name == "linear" else {}
        if options not in cases:
            cases.append(options)
    return cases


def _drawn(name: str, generator: np.random.Generator) -> Options:
    def number(low: float, high: float, digits: int = 3) -> float:
        return round(float(generator.uniform(low, high)), digits)

    # Some runs go on after the end of their schedule; OneCycleLR refuses to.
    total = STEPS if name == "one_cycle" or generator.integers(2) else int(generator.integers(60, 180))
    options: Options = {"base_lr": number(0.001, 1.0), "total_steps": total}
    if name == "step":
        options |= {"step_size": int(generator.integers(1, 70)), "gamma": number(0.1, 1.0)}
    elif name == "multistep":
        milestones = sorted(int(m) for m in generator.integers(1, STEPS, int(generator.integers(1, 6))))
        options |= {"milestones": tuple(milestones), "gamma": number(0.1, 1.0)}
    elif name == "exponential":
        options |= {"gamma": number(0.9, 1.0, 4)}
    elif name == "linear":
        options |= {"start_factor": number(0.05, 1.0), "end_factor": number(0.0, 1.0)}
    elif name == "cosine":
        options |= {"eta_min": number(0.0, options["base_lr"], 6) if generator.integers(2) else 0.0}
        # Past its end CosineAnnealingLR's recursion strays from PyTorch's own closed form: see quirks.
        options |= {"closed_form": total < STEPS}
    elif name == "one_cycle":
        options |= {
            "pct_start": number(0.02, 0.98),
            "anneal": ("cos", "linear")[generator.integers(2)],
            "div_factor": number(2.0, 50.0, 1),
            "final_div_factor": number(2.0, 1e4, 0),
        }
    return options


def _builder(options: Options) -> Callable[[], list[Compared]]:
    def build() -> list[Compared]:
        from parity.suites.schedules import runs
        from parity.suites.stepwise import Runs, by_step, unstacked

        rates = runs.torch_rates(options, STEPS)
        sides = (
            rates.astype(np.float32),
            rates,
            *(runs.flax_rates(options, STEPS, dtype) for dtype in ("float32", "float64")),
        )
        recordings = Runs(*(unstacked({"learning rate": side}) for side in sides))
        return by_step(recordings)

    return build
