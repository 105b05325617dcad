"""The bridge to PyTorch: its own gradient check, its modules, its memory, its state_dict."""

import copy
import gc
import pickle
import weakref

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
import test_losses
from test_layers import LAYERS
from test_losses import CASES
from test_sequential import IMAGES, LABELS, everything
from torch.autograd import gradcheck

import xpnet
from xpnet import MultiLayerNet, Network, Sequential, nn
from xpnet.layers import Affine, Sigmoid, Tanh
from xpnet.torch import Module, as_function, load_state_dict, state_dict


def tensors(arrays, differentiable=0):
    made = [torch.tensor(np.array(a)) for a in arrays]
    for tensor in made[:differentiable]:
        tensor.requires_grad_()
    return made


@pytest.mark.parametrize("name", LAYERS)
def test_pytorchs_gradcheck_accepts_every_layer(name):
    build, count, attributes, arrays, differentiable = LAYERS[name]
    params = tensors(arrays[:count], len(attributes))
    inputs = tensors(arrays[count:], differentiable)
    function = as_function(build)
    assert gradcheck(lambda *a: function(a[:count], *a[count:]), (*params, *inputs))
    own = build(*params).forward(*inputs)
    torch.testing.assert_close(function(params, *inputs), own)


@pytest.mark.parametrize("name", CASES)
def test_pytorchs_gradcheck_accepts_every_loss(name):
    build, numbers, options, x, t = CASES[name]
    weight = options.get("weight")
    rest = {key: torch.tensor(a) for key, a in options.items() if key != "weight"}
    function = as_function(build, **numbers, **rest)
    params = () if weight is None else (torch.tensor(weight),)
    (scores,) = tensors([x], 1)
    assert gradcheck(lambda x: function(params, x, torch.tensor(np.array(t))), (scores,))
    np.testing.assert_allclose(
        function(params, scores, torch.tensor(np.array(t))).item(),
        test_losses.forward(name, test_losses.given_to(name))[1],
        rtol=1e-12,
    )


def prepared():
    stack = everything()
    net = Network(stack, IMAGES.shape[1:], like=torch.tensor(IMAGES), seed=1)
    masks = {k: torch.tensor(m) for k, m in stack.draw(np.random.default_rng(0), IMAGES.shape).items()}
    return stack, net, masks


@pytest.mark.parametrize("training", [True, False])
def test_pytorchs_gradcheck_accepts_a_stack(training):
    stack, net, masks = prepared()
    names = list(net.params)
    function = as_function(stack, training=training)
    carried = {"state": net.state, "masks": masks} if training else {"state": net.state}

    def outputs(x, *params):
        result = function(dict(zip(names, params, strict=True)), x, **carried)
        return result[0] if training else result

    (x,) = tensors([IMAGES], 1)
    assert gradcheck(outputs, (x, *(p.requires_grad_() for p in net.params.values())), fast_mode=True)


def test_a_stack_among_others_has_its_own_gradients_and_next_state():
    stack, net, masks = prepared()
    x, t = torch.tensor(IMAGES), torch.tensor(LABELS)
    loss, expected, after = stack.loss_and_gradient(net.params, x, t, state=net.state, masks=masks)
    params = {name: p.clone().requires_grad_() for name, p in net.params.items()}
    y, state = as_function(stack, training=True)(params, x, state=net.state, masks=masks)
    got = torch.nn.functional.cross_entropy(y, t)
    got.backward()
    torch.testing.assert_close(got.detach(), loss)
    assert list(state) == list(after)
    for name in after:
        torch.testing.assert_close(state[name], after[name])
        assert not state[name].requires_grad
    for name, p in params.items():
        torch.testing.assert_close(p.grad, expected[name])


# As autograd keeps it


def test_an_input_changed_in_place_before_backward_is_an_error():
    x, W, b = tensors([np.ones((2, 3)), np.ones((3, 2)), np.ones(2)], 3)
    y = as_function(Affine)((W, b), x * 1)
    with torch.no_grad():
        W.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_an_output_changed_in_place_is_an_error_where_the_derivative_needs_it():
    (x,) = tensors([np.ones(3)], 1)
    y = as_function(Sigmoid)((), x)
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_a_second_derivative_is_an_error():
    (x,) = tensors([np.ones(3)], 1)
    with pytest.raises(RuntimeError, match="create_graph=True cannot go through as_function"):
        torch.autograd.grad(as_function(Tanh)((), x).sum(), x, create_graph=True)


def test_backward_works_twice_where_the_graph_is_kept_and_not_where_it_is_not():
    x, W, b = tensors([np.ones((2, 3)), np.ones((3, 2)), np.ones(2)], 3)
    y = as_function(Affine)((W, b), x).sum()
    y.backward(retain_graph=True)
    first = W.grad.clone()
    y.backward()
    torch.testing.assert_close(W.grad, 2 * first)
    with pytest.raises(RuntimeError, match="a second time"):
        y.backward()


@pytest.mark.parametrize("name", ["affine", "sigmoid", "batch_norm", "residual", "max_pooling"])
def test_what_was_recorded_goes_with_the_graph_without_garbage_collection(name):
    build, count, attributes, arrays, differentiable = LAYERS[name]
    params, inputs = tensors(arrays[:count], len(attributes)), tensors(arrays[count:], differentiable)
    gc.collect()
    gc.disable()
    try:
        inside = [i * 1 for i in inputs]
        y = as_function(build)(params, *inside)
        kept = [weakref.ref(t) for t in (y, *inside)]
        del y, inside
        assert all(ref() is None for ref in kept)
    finally:
        gc.enable()


# As a module


def model_of(network, seed=0):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 8), Module(network, seed=seed), torch.nn.Linear(4, 3))


def network(**options):
    stack = Sequential(nn.Dense(6), nn.BatchNorm(), nn.Relu(), nn.Dropout(0.4), nn.Dense(4))
    return Network(stack, (8,), **options)


def test_a_module_trains_among_pytorchs_own():
    x = torch.tensor(np.random.default_rng(0).normal(size=(200, 5)).astype("float32"))
    t = (x[:, 0] > x[:, 1]).long()
    model = model_of(network())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(x), t).backward()
        optimizer.step()
    model.eval()
    assert (model(x).argmax(1) == t).float().mean() > 0.9
    assert not torch.equal(model[1].mean1, torch.zeros(6))
    torch.testing.assert_close(model(x[:1]), model(x)[:1])  # a batch of one, by running statistics


def test_a_module_is_the_network_it_was_made_from():
    net = network()
    x = np.random.default_rng(0).normal(size=(7, 8)).astype("float32")
    module = Module(net).eval()
    np.testing.assert_allclose(module(torch.tensor(x)).detach().numpy(), net.predict(x), rtol=1e-5, atol=1e-6)
    assert [name for name, _ in module.named_parameters()] == list(net.params)
    assert [name for name, _ in module.named_buffers()] == list(net.state)
    with torch.no_grad():
        module.W1.add_(1.0)
    assert not np.any(net.params["W1"] == module.W1.detach().numpy())  # a copy
    assert Module(net, dtype=torch.float64).W1.dtype == torch.float64
    assert "Dense(6)" in repr(module)


def test_masks_come_from_the_seed():
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(4, 5)).astype("float32"))
    first, second = (model_of(network(), seed=3) for _ in range(2))
    for _ in range(3):
        torch.testing.assert_close(first(x), second(x))
    assert not torch.equal(first(x), first(x))


def test_modules_are_copied_pickled_saved_and_loaded(tmp_path):
    x = torch.ones(4, 5)
    model = model_of(network())
    model(x).sum().backward()
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other.eval()(x), copy.deepcopy(model).eval()(x))
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = model_of(network(seed=9))
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    torch.testing.assert_close(other.eval()(x), model.eval()(x))


# state_dict


class Block(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn = torch.nn.BatchNorm2d(4)
        self.short = torch.nn.Conv2d(4, 4, 1)

    def forward(self, x):
        return torch.relu(self.bn(self.conv1(x))) + self.short(x)


def twins():
    """The same layers in PyTorch, with running statistics that are not those of the start, and here."""
    torch.manual_seed(0)
    own = torch.nn.Sequential(
        torch.nn.Conv2d(2, 4, 3, stride=2),
        Block(),
        torch.nn.Flatten(),
        torch.nn.Linear(36, 5),
        torch.nn.LayerNorm(5),
        torch.nn.Linear(5, 3),
    )
    own[1].bn.running_mean.normal_()
    own[1].bn.running_var.uniform_(0.5, 2)
    block = nn.Residual(nn.Conv2d(4, 3, padding=1), nn.BatchNorm(), nn.Relu(), shortcut=[nn.Conv2d(4, 1)])
    return own.eval(), Sequential(nn.Conv2d(4, 3, stride=2), block, nn.Dense(5), nn.LayerNorm(), nn.Dense(3))


def test_parameters_come_from_pytorchs_layers_and_go_back(lib):
    own, stack = twins()
    x = np.random.default_rng(0).normal(size=(3, 2, 8, 8)).astype("float32")
    net = Network(stack, (2, 8, 8), like=lib.asarray(x, "float32"))
    load_state_dict(net, own.state_dict())
    with torch.no_grad():
        expected = own(torch.tensor(x)).numpy()
    np.testing.assert_allclose(lib.numpy(net.predict(lib.asarray(x, "float32"))), expected, rtol=1e-4, atol=1e-5)

    other, _ = twins()
    for p in other.parameters():
        torch.nn.init.zeros_(p)
    prefixes = ["0", "1.conv1", "1.bn", "1.short", "3", "4", "5"]
    given = state_dict(net, prefixes=prefixes)
    assert given.pop("1.conv1.bias").abs().max() == 0  # PyTorch's has none
    other.load_state_dict(given)
    with torch.no_grad():
        np.testing.assert_allclose(other(torch.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_an_embedding_comes_and_goes():
    own = torch.nn.Sequential(torch.nn.Embedding(7, 3), torch.nn.Flatten(), torch.nn.Linear(12, 2))
    net = Network(Sequential(nn.Embedding(7, 3), nn.Dense(2)), (4,))
    load_state_dict(net, own.state_dict())
    ids = np.asarray([[0, 6, 3, 3]])
    np.testing.assert_allclose(net.predict(ids), own(torch.tensor(ids)).detach().numpy(), rtol=1e-5)
    own.load_state_dict(state_dict(net, prefixes=["0", "2"]))


def test_a_state_dict_that_does_not_fit_is_refused_and_changes_nothing():
    net = MultiLayerNet(4, [8], 3)
    before = dict(net.params)
    linear, norm = torch.nn.Linear, torch.nn.BatchNorm1d
    for model, match in [
        (torch.nn.Sequential(linear(4, 8)), r"expected 2 layers with parameters \(Affine1, Affine2\), got 1 \(0\)"),
        (
            torch.nn.Sequential(linear(4, 8), linear(9, 3)),
            r"1\.weight has shape \(3, 9\), which does not fit W2 of Affine2",
        ),
        (
            torch.nn.Sequential(linear(4, 8), norm(8)),
            "1 has running_mean, running_var, but Affine2 takes weight, bias",
        ),
        (torch.nn.Sequential(norm(8, affine=False), linear(8, 3)), "0 has running_mean, running_var, but Affine1"),
    ]:
        with pytest.raises(ValueError, match=match):
            load_state_dict(net, model.state_dict())
        assert all(net.params[name] is p for name, p in before.items())
    with pytest.raises(ValueError, match="0 lacks weight, which Affine1 needs"):
        load_state_dict(net, {"0.bias": torch.zeros(8), "1.weight": torch.zeros(3, 8)})
    with pytest.raises(ValueError, match=r"prefixes: expected 2, one for each layer with parameters \(Affine1, Aff"):
        state_dict(net, prefixes=["0"])
    assert list(state_dict(net)) == ["Affine1.weight", "Affine1.bias", "Affine2.weight", "Affine2.bias"]


# Training with tensors that PyTorch differentiates


class Watch(xpnet.Callback):
    """Keeps weak references to the parameters after each update, and looks for graphs."""

    def __init__(self):
        self.seen = []

    def on_update(self, loop):
        for a in (*loop.done.carry.params.values(), *loop.done.carry.memory.values(), loop.loss):
            assert a.is_leaf and a.grad_fn is None and not a.requires_grad
        self.seen.append([weakref.ref(p) for p in loop.done.carry.params.values()])


@pytest.mark.parametrize("transform", [None, torch.nn.Linear(6, 6)], ids=["plain", "transform"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_fit_keeps_no_graph_of_earlier_updates(optimizer, transform):
    rng = np.random.default_rng(0)
    x = torch.tensor(rng.normal(size=(40, 6)).astype("float32"), requires_grad=True)
    t = torch.tensor(rng.integers(0, 3, size=40))
    net = MultiLayerNet(6, [5], 3, like=x.detach(), batch_norm=True)
    plain = copy.deepcopy(net)
    given = net.params = {name: torch.nn.Parameter(p) for name, p in net.params.items()}
    net.state = {name: s.clone().requires_grad_() for name, s in net.state.items()}
    watch, options = Watch(), {"epochs": 1, "batch_size": 4, "transform": transform, "progress": False}
    gc.disable()
    try:
        xpnet.fit(net, ((x, t), (x, t)), optimizer, callbacks=[watch], **options)
        assert [any(ref() is not None for ref in refs) for refs in watch.seen] == [False] * 9 + [True]
    finally:
        gc.enable()
    for p in (*net.params.values(), *net.state.values()):
        assert type(p) is torch.Tensor and p.is_leaf and not p.requires_grad
    for p in given.values():
        assert p.requires_grad and p.grad is None  # as they were
    with torch.no_grad():
        xpnet.fit(plain, ((x.detach(), t), (x.detach(), t)), optimizer, **options)
    for name, p in plain.params.items():
        torch.testing.assert_close(net.params[name], p, rtol=0, atol=0)


def test_a_block_of_an_evaluation_keeps_no_graph():
    x, t = torch.ones((3, 4), requires_grad=True), torch.tensor([0, 1, 1])
    net = MultiLayerNet(4, [5], 2, like=x.detach())
    net.params = {name: torch.nn.Parameter(p) for name, p in net.params.items()}
    seen = []

    def look(x):
        seen.append(x.requires_grad)
        return x

    xpnet.evaluate(net, x, t, transform=look)
    assert seen == [False]
    assert all(p.requires_grad for p in net.params.values())
