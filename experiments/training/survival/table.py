"""The table of what was tried, and what was lost."""

from experiments import record
from experiments.markdown import rows, where


def table() -> str:
    """One row for each part of the study."""
    result = record.read("survival")
    kills, paths, disk = (result[part] for part in ("kills", "paths", "disk"))
    killed = [item for item in kills["moments"] if item["killed"] and not item["complete"]]
    at_random = [item for item in killed if item["when"] in ("any time", "training")]
    last = len(killed) - len(at_random)
    body = [
        [
            f"kill -9 at {len(at_random)} random moments and {last} of the last step",
            f"{kills['same']} of {kills['runs']} runs end as one that nobody kills, bit for bit",
            str(kills["lost"]),
        ],
        [
            f"{paths['tried']} odd paths of runs and data",
            f"{paths['work']} work from training to prediction; {paths['refused']} are refused before training",
            str(paths["lost"]),
        ],
        *(
            [
                name,
                "one sentence, and what was saved before is good" if item["as_wanted"] else "not as wanted",
                str(int(not item["as_wanted"])),
            ]
            for name, item in disk["outcomes"].items()
        ),
    ]
    ahead = sum(item["step"] > 0 for item in at_random)
    early = sum(item["epochs"] == 0 for item in at_random)
    return (
        rows(["what was done", "outcome", "lost"], body)
        + f"\n\nA run has {kills['epochs']} epochs and {kills['steps']} steps. Of the processes that were killed at "
        f"random, {ahead} left a checkpoint to go on from, and {early} had not finished an epoch. "
        f"`{result['command']}`, run on: {where(result)}."
    )
