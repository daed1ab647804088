"""The conventions of an update rule in words."""

from typing import Any

from parity.diagnose.training.update_rules import UpdateRule

_CHOICES: dict[tuple[str, Any], str] = {
    ("decay_location", "gradient"): "weight decay enters the gradient, before momentum and scaling",
    ("decay_location", "direction"): "weight decay is added after momentum and scaling",
    ("decayed", "all"): "every parameter decays",
    ("decayed", "matrices"): "only parameters of more than one axis decay",
    ("decayed", "vectors"): "only biases and norms decay",
    ("nesterov", True): "Nesterov momentum",
    ("nesterov", False): "plain momentum",
    ("first_dampened", True): "the first gradient enters the momentum dampened",
    ("first_dampened", False): "the first gradient enters the momentum whole",
    ("rate_inside", True): "the learning rate inside the momentum",
    ("rate_inside", False): "the learning rate outside the momentum",
    ("epsilon_location", "outside"): "epsilon outside the root",
    ("epsilon_location", "inside"): "epsilon under the root",
    ("epsilon_location", "before"): "epsilon added before the bias correction",
    ("clip_norm", None): "no clipping",
    ("clip_epsilon", 0.0): "clips by max_norm / norm",
}


def in_words(rule: UpdateRule, field: str) -> str:
    """One convention of a rule in words."""
    value = getattr(rule, field)
    if (field, value) in _CHOICES:
        return _CHOICES[field, value]
    if field == "clip_epsilon":
        return f"clips by max_norm / (norm + {value:g})"
    if field == "clip_norm":
        return f"clips to the norm {value:g}"
    name = "alpha" if rule.kind == "rmsprop" and field == "beta_square" else field.replace("_", " ")
    names = {"decay": "weight decay", "initial": "accumulator starts at"}
    return f"{names.get(name, name)} {value:g}"
