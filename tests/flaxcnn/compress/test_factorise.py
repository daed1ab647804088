"""Low rank: the error of Eckart and Young, and networks in which two layers stand for one."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

from flaxcnn.compress.factorise import candidates, factorised, rank_for, saves, split
from flaxcnn.compress.groups import structure
from flaxcnn.compress.layers import products_of
from flaxcnn.compress.ranking import scores
from flaxcnn.compress.shrink import choose, shrink
from flaxcnn.errors import InvalidArgument
from flaxcnn.functional import bind, functional
from flaxcnn.models.factored import factored
from flaxcnn.models.folding import folding
from flaxcnn.models.layers import Conv, Dense
from flaxcnn.models.resized import Architecture, ArchitectureError, resized
from flaxcnn.weights import to_torch

from .networks import built, outputs, plain

KERNELS = [(3, 3, 5, 8), (12, 7)]


def _kernel(shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape))


@pytest.mark.parametrize("shape", KERNELS)
@pytest.mark.parametrize("rank", [1, 3, 7])
def test_the_error_is_that_of_eckart_and_young(x64, shape, rank):
    kernel = _kernel(shape)
    first, second, error = split(kernel, rank)
    product = np.tensordot(first, np.asarray(second).reshape(rank, -1), 1)
    values = torch.linalg.svdvals(torch.from_numpy(np.array(kernel)).reshape(-1, shape[-1])).numpy()
    wanted = np.sqrt((values[rank:] ** 2).sum())
    assert np.linalg.norm(product - kernel) == pytest.approx(wanted, rel=1e-10, abs=1e-12)
    assert error == pytest.approx(wanted / np.linalg.norm(kernel), rel=1e-10, abs=1e-12)


def test_the_rank_is_what_numpy_says():
    kernel = _kernel((9, 6))
    values = np.linalg.svd(np.asarray(kernel, np.float64), compute_uv=False)
    shares = np.cumsum(values**2) / (values**2).sum()
    for rank in range(1, 7):
        assert rank_for(kernel, energy=shares[rank - 1]) == rank
        assert rank_for(kernel, energy=min(1.0, shares[rank - 1] + 1e-4)) == min(6, rank + 1)
    assert rank_for(kernel, energy=1.0) == rank_for(kernel, rank=50) == 6
    assert [rank_for(kernel, ratio=ratio) for ratio in (0.01, 0.5, 0.99)] == [1, 3, 5]
    # 9 x 6 weights against r (9 + 6).
    assert [saves(kernel, rank) for rank in (3, 4)] == [True, False]


def _two(name, ranks, patterns="*"):
    """The network, the same with some layers as two, and the image shape."""
    model, parts, shape = built(name)
    chosen = {layer: ranks(parts.params[f"{layer}.weight"]) for layer in candidates(model, patterns).layers}
    params = factorised(parts.params, chosen)
    sizes = {key: tuple(value.shape) for key, value in (params | parts.state).items()}
    groups = {key: module.groups for key, module in _convolutions(model).items() if module.groups > 1}
    architecture = Architecture(sizes, groups, tuple(chosen))
    copy = resized(model, architecture)
    return parts, plain(functional(copy))._replace(params=params, state=parts.state), shape, copy


def _convolutions(model):
    named = {".".join(map(str, path)): module for path, module in nnx.iter_modules(model)}
    return {name: module for name, module in named.items() if isinstance(module, Conv)}


def _full(kernel):
    return min(math.prod(kernel.shape[:-1]), kernel.shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cnn", "shortcut B", "grouped"])
def test_at_full_rank_two_layers_are_the_one(x64, name):
    parts, two, shape, copy = _two(name, _full)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, *shape)))
    whole, product = outputs(parts, images), outputs(two, images)
    for a, b in zip(whole, product, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-11 * np.abs(a).max())
    if name == "grouped":
        assert "layer1.0.conv2.weight" in two.params and "layer1.0.conv1.1.weight" in two.params
    # Batch norms are folded into the second layer, also behind a shortcut.
    folded, fold = folding(copy)
    params, state = fold(two.params, two.state)
    assert not state
    np.testing.assert_allclose(
        plain(functional(folded)).apply(params, state, images, train=False)[0], whole[0], rtol=1e-9, atol=1e-9
    )


def test_half_of_the_channels_of_two_layers_are_removed(x64):
    """`shrink` sees two layers as any two: the channels between them go too."""
    _, two, shape, copy = _two("cnn", lambda kernel: 4, "conv2")
    found = structure(two, shape)
    between = next(group for group in found.groups if group.name == "conv2.0")
    assert len(between.units) == 4
    removed = choose(found, scores(found, two.params), ratio=0.5)
    small = shrink(found, two.params, two.state, removed)
    assert small.params["conv2.0.weight"].shape == (3, 3, 3, 2)
    assert small.params["conv2.1.weight"].shape == (1, 1, 2, 2)
    again = resized(copy, Architecture(small.architecture.shapes))
    logits = bind(again, small.params, small.state)(jnp.zeros((1, *shape)))
    assert logits.shape == (1, 10)


def test_two_layers_are_a_sequential_of_torch(x64):
    """Names and layouts are those of `torch.nn.Sequential`, with stride and padding in the first layer."""
    nn = torch.nn
    layer = Conv(3, 8, 3, stride=2, padding=1, rngs=nnx.Rngs(0))
    net = nn.ModuleDict(
        {"a": nn.Sequential(nn.Conv2d(3, 2, 3, stride=2, padding=1, bias=False), nn.Conv2d(2, 8, 1))}
    )
    params = {"a.weight": _kernel((3, 3, 3, 8)), "a.bias": _kernel((8,))}
    params = factorised(params, {"a": 2})
    arrays = {name: torch.from_numpy(np.array(value)) for name, value in to_torch(params, {}).items()}
    net.double().load_state_dict(arrays)
    model = nnx.Dict(a=layer)
    sizes = {name: value.shape for name, value in params.items()}
    two = bind(resized(model, Architecture(sizes, {}, ("a",))), params, {})["a"]
    x = np.random.default_rng(1).normal(size=(2, 6, 6, 3))
    with torch.no_grad():
        wanted = net["a"](torch.from_numpy(x.transpose(0, 3, 1, 2))).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_allclose(two(jnp.asarray(x)), wanted, rtol=0, atol=1e-12)


def test_layers_are_chosen_by_name():
    model = nnx.Dict(first=Dense(3, 4, rngs=nnx.Rngs(0)), second=Conv(4, 4, 3, groups=2, rngs=nnx.Rngs(0)))
    assert candidates(model) == (("first",), ("second",))
    assert candidates(model, "fir*, second").layers == ("first",)
    two = nnx.Dict(first=factored(model["first"], 2))
    assert list(products_of(two, "first")) == ["first.0", "first.1"]
    assert candidates(two, "first") == ((), ())
    with pytest.raises(InvalidArgument, match=r"'frist', which fits no .* did you mean first"):
        candidates(model, "first,frist")


def test_an_architecture_of_another_model_is_one_sentence():
    model = nnx.Dict(first=Dense(3, 4, rngs=nnx.Rngs(0)))
    for two in (("second",), ("first",)):
        with pytest.raises(ArchitectureError, match="it has two layers for"):
            resized(model, Architecture({}, {}, two))
