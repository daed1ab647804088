"""The suite `models`: every model of the registry against torchvision, or against a twin written for it.

    torchvision   the ten builders that torchvision has too, and its resnet50 with the stride on the first 1x1
    cifar         He et al. 2015, section 4.2: every depth, shortcuts A and B, another stem
    preact        pre-activation networks, CIFAR's and ImageNet's
    cnn           the small network, with and without batch norm
    short_resnet  the short network for fast training, as it is and in grey

Nothing is loaded before a case is built.
"""

from collections.abc import Callable
from typing import Any

from parity.suites.case import Case, Pair

TORCHVISION = (
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "resnext50_32x4d",
    "resnext101_32x8d",
    "resnext101_64x4d",
    "wide_resnet50_2",
    "wide_resnet101_2",
)
CIFAR_DEPTHS = (20, 32, 44, 56, 110)
IMAGENET_DEPTHS = (18, 34, 50, 101, 152)
IMAGENET_INPUT = "4x3x64x64"
# Not square, and odd after two halvings: a swapped axis or an uneven padding must show.
CIFAR_INPUT = "4x3x18x22"


def model_cases() -> list[Case]:
    """Every case of the suite."""
    return [*_torchvision(), *_cifar(), *_pre_activation(), *_cnn(), *_resnet9()]


def _case(
    name: str,
    group: str,
    torch: Callable[[], Any],
    *,
    model: str | None = None,
    options: dict[str, Any] | None = None,
    inputs: str = CIFAR_INPUT,
    quick: bool = False,
    detail: str = "",
) -> Case:
    """A case of the registry's `model` (by default the case's name), built with `options`."""

    def build() -> Pair:
        from flaxcnn import models

        return Pair(torch(), models.create(model or name, **(options or {})), inputs)

    return Case(name, "models", group, quick, "both", build, detail)


def _torchvision() -> list[Case]:
    def built(name: str) -> Callable[[], Any]:
        def build() -> Any:
            import torchvision

            return getattr(torchvision.models, name)(weights=None)

        return build

    cases = [_case(name, "torchvision", built(name), inputs=IMAGENET_INPUT) for name in TORCHVISION]
    first = _case(
        "resnet50-v1",
        "torchvision",
        lambda: _twins().with_stride_on_first(built("resnet50")()),
        model="resnet50",
        options={"stride_on": "1x1"},
        inputs=IMAGENET_INPUT,
        detail="stride on the first 1x1",
    )
    return [*cases, first]


def _cifar() -> list[Case]:
    def twin(depth: int, **options: Any) -> Callable[[], Any]:
        return lambda: _twins().CifarResNet(depth, **options)

    cases = []
    for depth in CIFAR_DEPTHS:
        name = f"resnet{depth}"
        cases.append(_case(name, "cifar", twin(depth), quick=depth == 20, detail="shortcut A"))
        projected = {"shortcut": "B"}
        cases.append(
            _case(
                f"{name}-b",
                "cifar",
                twin(depth, **projected),
                model=name,
                options=projected,
                detail="shortcut B",
            )
        )
    plain = _case(
        "resnet20-plain",
        "cifar",
        twin(20, stem_stride=2, width=8, in_channels=1, num_classes=7),
        model="resnet20",
        options={"stem": "plain", "width": 8, "in_channels": 1, "num_classes": 7},
        inputs="4x1x34x30",
        quick=True,
        detail="stem of stride 2, 8 channels wide, grey images, 7 classes",
    )
    return [*cases, plain]


def _pre_activation() -> list[Case]:
    def cifar(depth: int, **options: Any) -> Callable[[], Any]:
        return lambda: _twins().CifarResNet(depth, pre_activation=True, **options)

    def imagenet(depth: int) -> Callable[[], Any]:
        return lambda: _twins().PreActivationResNet(depth)

    cases = [
        _case(f"preact_resnet{depth}", "preact", cifar(depth), quick=depth == 20, detail="shortcut A")
        for depth in CIFAR_DEPTHS
    ]
    projected = _case(
        "preact_resnet20-b",
        "preact",
        cifar(20, shortcut="B"),
        model="preact_resnet20",
        options={"shortcut": "B"},
        detail="shortcut B",
    )
    deep = [
        _case(f"preact_resnet{depth}", "preact", imagenet(depth), inputs=IMAGENET_INPUT)
        for depth in IMAGENET_DEPTHS
    ]
    return [*cases, projected, *deep]


def _cnn() -> list[Case]:
    options = {"batch_norm": True, "in_channels": 3, "image_size": (18, 22)}
    plain = _case("cnn", "cnn", lambda: _twins().CNN(), inputs="4x1x28x28", quick=True)
    normalised = _case(
        "cnn-batch-norm",
        "cnn",
        lambda: _twins().CNN(**options),
        model="cnn",
        options=options,
        quick=True,
        detail="batch norm, colour images, not square",
    )
    return [plain, normalised]


def _resnet9() -> list[Case]:
    options = {
        "in_channels": 1,
        "num_classes": 7,
        "widths": (8, 12, 16),
        "pools": (True, False, True),
        "branches": (1, 0, 3),
        "logit_scale": 0.5,
    }
    plain = _case("resnet9", "short_resnet", lambda: _twins().ResNet9())
    small = _case(
        "resnet9-small",
        "short_resnet",
        lambda: _twins().ResNet9(**options),
        model="resnet9",
        options=options,
        inputs="4x1x18x22",
        quick=True,
        detail="grey images, 7 classes, three stages, branches of 1 and 3 units",
    )
    return [plain, small]


def _twins() -> Any:
    from parity.suites.models import twins

    return twins
