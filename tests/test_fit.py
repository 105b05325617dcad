"""What `fit` can do beyond the plain run: any stack, validation, early stopping, callbacks, parts of a batch."""

import numpy as np
import pytest
from array_api_compat import array_namespace
from test_training import arrays, params_of

import xpnet
from xpnet import SGD, MultiLayerNet, Network, Sequential, Shards, evaluate, fit, layers, nn, train
from xpnet.training.step import update_step


def images(lib, count=120):
    (x, t), (x_test, t_test) = arrays(lib, count)
    return (lib.xp.reshape(x, (-1, 1, 7, 7)), t), (lib.xp.reshape(x_test, (-1, 1, 7, 7)), t_test)


def convolutional(lib, like, dropout=0.25):
    stack = Sequential(
        nn.Conv2d(4, 3, padding=1),
        nn.BatchNorm(),
        nn.Relu(),
        nn.MaxPool2d(2),
        nn.Residual(nn.Conv2d(4, 3, padding=1), nn.BatchNorm(), nn.Tanh()),
        nn.Dropout(dropout),
        nn.Dense(10),
        loss=nn.CrossEntropy(label_smoothing=0.05),
    )
    return Network(stack, (1, 7, 7), seed=2, like=like)


def plain_loop(network, data, lr, batch_size, epochs, seed):
    """The same training in NumPy, from the stack's pure function alone."""
    (x, t), _ = data
    rng, params, state = np.random.default_rng(seed), network.params, network.state
    losses = []
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch_size):
            index = order[start : start + batch_size]
            masks = network.stack.draw(rng, x[index].shape)
            loss, gradients, state = network.stack.loss_and_gradient(
                params, x[index], t[index], state=state, masks=masks
            )
            params = {name: p - lr * gradients[name] for name, p in params.items()}
            losses.append(float(loss))
    return losses, params, state


def test_a_network_with_state_and_noise_trains_alike_on_every_library(lib):
    """Against a loop in NumPy: the same masks, batches and running statistics."""
    data = images(lib)
    host = tuple((xpnet.to_numpy(x), xpnet.to_numpy(t)) for x, t in data)
    losses, params, state = plain_loop(convolutional(lib, host[0][0]), host, 0.1, 50, 2, 5)
    result = fit(convolutional(lib, data[0][0]), data, SGD(0.1), batch_size=50, epochs=2, seed=5, progress=False)
    tolerance = {"rtol": 1e-9, "atol": 1e-11} if "float64" in lib.dtypes else {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(result.history.loss, losses, **tolerance)
    for name, p in params_of(result).items():
        np.testing.assert_allclose(p, params[name], **tolerance, err_msg=name)
    for name, s in result.network.state.items():
        assert lib.holds(s)
        np.testing.assert_allclose(lib.numpy(s), state[name], **tolerance, err_msg=name)


@pytest.mark.parametrize("weighed", [False, True], ids=["", "weighed"])
def test_a_batch_passed_in_parts_is_the_same_update(lib, weighed):
    """Also where some samples count more than others, or not at all: the parts then count differently."""
    data = arrays(lib, 75)
    results = []
    for parts in (1, 3) if weighed else (1, 3, 40):  # of 25, 9 and, as there are no more samples, 1
        loss = nn.CrossEntropy(range(1, 11), label_smoothing=0.1, ignore_index=3) if weighed else nn.CrossEntropy()
        net = MultiLayerNet(49, [8, 6], 10, activation=nn.Tanh(), loss=loss, like=data[0][0])
        results.append(fit(net, data, SGD(0.5), batch_size=25, epochs=1, accumulate=parts, progress=False))
    for result in results[1:]:
        tolerance = 1e-10 if "float64" in lib.dtypes else 1e-4
        np.testing.assert_allclose(result.history.loss, results[0].history.loss, rtol=tolerance)
        for name, p in params_of(result).items():
            np.testing.assert_allclose(p, params_of(results[0])[name], rtol=tolerance, atol=tolerance)


def test_parts_share_masks_and_pass_state_on(lib):
    """A batch of 6 in parts of 4 and 2: each sees its rows of the mask, the second the first one's statistics."""
    (x, t), _ = images(lib, 6)
    net = convolutional(lib, x, dropout=0.5)
    masks = {name: lib.asarray(mask) for name, mask in net.stack.draw(np.random.default_rng(0), (6, 1, 7, 7)).items()}
    step = update_step(net.stack, SGD(0.1), accumulate=2)
    with lib.here:
        (params, _, state), loss = step((net.params, {}, net.state), (x, t), masks)
    losses, gradients, expected = [], [], net.state
    for part in (slice(0, 3), slice(3, 6)):
        part_masks = {name: mask[part, ...] for name, mask in masks.items()}
        value, g, expected = net.stack.loss_and_gradient(
            net.params, x[part, ...], t[part, ...], state=expected, masks=part_masks
        )
        losses.append(float(value))
        gradients.append({name: lib.numpy(a) for name, a in g.items()})
    np.testing.assert_allclose(float(loss), np.mean(losses), rtol=1e-5)
    for name, p in params.items():
        change = 0.1 * (gradients[0][name] + gradients[1][name]) / 2
        np.testing.assert_allclose(lib.numpy(p), lib.numpy(net.params[name]) - change, rtol=1e-4, atol=1e-6)
    for name, s in expected.items():
        np.testing.assert_allclose(lib.numpy(state[name]), lib.numpy(s), rtol=1e-5, atol=1e-7)


@pytest.mark.only("numpy", "torch", "jax", "cupy")
@pytest.mark.parametrize("layers", [5, 20])
def test_deep_networks_train_where_batches_are_normalised(lib, layers):
    """By the loss: the accuracy, by running statistics of so few updates, jumps about from machine to machine."""
    data = arrays(lib)
    losses = {}
    for batch_norm in (True, False):
        net = MultiLayerNet(
            49, [50] * (layers - 1), 10, batch_norm=batch_norm, weight_init=nn.Normal(0.05), like=data[0][0]
        )
        history = fit(net, data, SGD(0.1), batch_size=50, epochs=20, progress=False).history
        losses[batch_norm] = np.mean(history.loss[-20:])
    assert losses[True] < 1.8
    assert losses[False] > 2.2  # of ten classes at random: log 10 = 2.3


def test_validation_samples_are_kept_out_of_training(lib):
    data = arrays(lib)
    net = MultiLayerNet(49, [8], 10, like=data[0][0])
    history = fit(net, data, SGD(0.1), batch_size=30, epochs=2, validation=0.2, progress=False).history
    assert history.updates == [0, 7, 14]  # of 200 samples
    assert len(history.validation_loss) == len(history.validation_accuracy) == 3
    held = np.sort(np.random.default_rng(0).permutation(250)[:50])  # the first that the seed draws
    x, t = (lib.backend.rows(a, lib.asarray(held)) for a in data[0])
    assert history.validation_loss[-1] == pytest.approx(float(net.loss(x, t)), rel=1e-5)
    assert history.validation_accuracy[-1] == pytest.approx(float(net.accuracy(x, t)))
    assert history.best_epoch == int(np.argmin(history.validation_loss))


def test_early_stopping_keeps_the_best_parameters(lib):
    """A learning rate that overshoots: the validation loss goes up, and the run ends."""
    data = arrays(lib)
    net = Network(Sequential(nn.Dense(10, nn.Normal(0.01))), (49,), like=data[0][0])
    seen = []

    def keep(network, history):
        seen.append((history.validation_loss[-1], {name: lib.numpy(p) for name, p in network.params.items()}))

    options = {"epochs": 50, "batch_size": 50, "validation": 0.2, "patience": 2, "progress": False}
    history = fit(net, data, SGD(8.0), callbacks=[keep], **options).history
    losses = history.validation_loss
    assert 3 <= len(losses) < 51
    assert history.best_epoch == len(losses) - 3 == int(np.argmin(losses))
    best = min(seen, key=lambda pair: pair[0])[1]
    for name, p in net.params.items():
        np.testing.assert_array_equal(lib.numpy(p), best[name])


def test_a_callback_sees_each_epoch_and_may_end_the_run(lib):
    data, calls = arrays(lib), []
    net = MultiLayerNet(49, [8], 10, like=data[0][0])

    def look(network, history):
        assert network is net
        calls.append(len(history.loss))
        return len(calls) == 3

    history = fit(net, data, SGD(0.1), batch_size=50, epochs=9, callbacks=[look], progress=False).history
    assert calls == [0, 5, 10] == history.updates
    assert not history.interrupted
    never = fit(net, data, epochs=3, callbacks=[lambda *_: 1], progress=False).history  # only True ends it
    assert len(never.updates) == 4
    for true in (True, np.bool_(True)):
        before = fit(net, data, epochs=3, callbacks=[lambda *_, true=true: true], progress=False).history
        assert before.updates == [0]


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"validation": 1.0}, "validation must be from 0 to below 1, got 1.0"),
        ({"validation": -0.1}, "validation must be from 0 to below 1, got -0.1"),
        ({"validation": 1e-4}, "of 250 samples selects no sample"),
        ({"patience": 2}, "patience needs validation samples"),
        ({"patience": 0, "validation": 0.1}, "patience must be an integer of at least 1"),
        ({"accumulate": 0}, "accumulate must be an integer of at least 1"),
        ({"epochs": True}, "epochs must be an integer"),
    ],
)
def test_options_that_do_not_fit_are_refused(lib, options, match):
    data = arrays(lib)
    with pytest.raises((TypeError, ValueError), match=match):
        fit(MultiLayerNet(49, [8], 10, like=data[0][0]), data, progress=False, **options)


@pytest.mark.parametrize(
    ("options", "smallest"),
    [({"batch_size": 3}, 1), ({"batch_size": 1}, 1), ({"batch_size": 5, "accumulate": 4}, 1)],
)
def test_a_batch_too_small_for_normalisation_is_refused_before_training(lib, options, smallest):
    data = arrays(lib, 10)
    net = MultiLayerNet(49, [8], 10, batch_norm=True, like=data[0][0])
    with pytest.raises(ValueError, match=rf"batch_size: .*a part with {smallest}, but normalization"):
        fit(net, data, progress=False, **options)
    fit(MultiLayerNet(49, [8], 10, like=data[0][0]), data, epochs=1, progress=False, **options)


def test_samples_of_another_shape_than_the_networks_are_refused(lib):
    data = images(lib)
    net = Network(Sequential(nn.Conv2d(2, 3), nn.Dense(10)), (1, 7, 7), like=data[0][0])
    with pytest.raises(ValueError, match=r"x_train: layer 1, Convolution1, is given samples of shape \(49,\)"):
        fit(net, arrays(lib), progress=False)
    wide = Network(Sequential(nn.Conv2d(2, 3), nn.Dense(10)), (1, 8, 8), like=data[0][0])
    with pytest.raises(ValueError, match=r"x_train has samples of shape \(1, 7, 7\), but .* made for \(1, 8, 8\)"):
        fit(wide, data, progress=False)
    flat = MultiLayerNet(49, [5], 10, like=data[0][0])
    fit(flat, data, epochs=1, progress=False)  # an affine layer flattens


class Hinge(xpnet.Loss):
    """A loss as the page on layers has it: its backward takes nothing."""

    def forward(self, x, t):
        xp = array_namespace(x)
        self.sign = 1 - 2 * t
        self.inside = xp.where(1 + self.sign * x > 0, xp.ones_like(x), xp.zeros_like(x))
        return xp.mean(xp.sum((1 + self.sign * x) * self.inside, axis=-1))

    def backward(self):
        return self.sign * self.inside / self.sign.shape[0]


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_loss_of_one_s_own_trains(lib, accumulate):
    data = arrays(lib)
    x = data[0][0]
    with lib.here:
        t = lib.xp.astype(x[:, :2] > 0.5, x.dtype)
    net = Network(Sequential(nn.Dense(2), loss=Hinge), (49,), like=x)
    history = fit(net, ((x, t), (x, t)), SGD(0.05), epochs=4, accumulate=accumulate, progress=False).history
    assert np.mean(history.loss[-3:]) < 0.8 * np.mean(history.loss[:3])


@pytest.mark.only("numpy", "torch", "jax", "cupy")
def test_exhausted_memory_is_one_line_that_says_what_to_do(lib):
    data = arrays(lib)
    net = MultiLayerNet(49, [8], 10, like=data[0][0])

    def take_all(network, history):
        lib.xp.zeros(10**14, dtype=lib.xp.float32, device=lib.device)

    with pytest.raises(
        MemoryError, match=f"{lib.backend.name} is out of memory: .*; choose a smaller batch"
    ) as raised:
        fit(net, data, SGD(0.1), epochs=1, callbacks=[take_all], progress=False)
    assert "\n" not in str(raised.value)


@pytest.mark.only("numpy", "torch", "strict", "cupy")
def test_the_network_keeps_the_epoch_before_where_memory_ends_in_the_evaluation(lib):
    data = arrays(lib)
    evaluations = []

    class Full(layers.SoftmaxWithLoss):
        def accuracy(self, scores, targets):
            evaluations.append(1)
            if len(evaluations) > 2:  # before training, training and test set
                raise MemoryError
            return super().accuracy(scores, targets)

    net = Network(Sequential(nn.Dense(10), loss=Full), (49,), like=data[0][0])
    before = net.params
    with pytest.raises(MemoryError, match="choose a smaller batch"):
        fit(net, data, SGD(0.1), epochs=1, progress=False)
    assert net.params is before


def test_an_error_of_another_kind_stays_as_it_is(lib):
    data = arrays(lib)
    net = MultiLayerNet(49, [8], 10, like=data[0][0])

    def fail(network, history):
        raise RuntimeError("of the callback")

    with pytest.raises(RuntimeError, match="^of the callback$"):
        fit(net, data, SGD(0.1), epochs=1, callbacks=[fail], progress=False)


IDS, OF_IDS = np.asarray([[1, 6], [1, 0], [2, 2]]), np.asarray([0, 3, 1])


@pytest.mark.parametrize("wrong", [7, -1])
def test_an_id_that_the_embedding_does_not_have_is_refused_by_its_argument(lib, wrong):
    """The layer alone does not look at values, and CuPy would take another row in silence."""
    ids, bad, t = (lib.asarray(a) for a in (IDS, np.where(IDS == 6, wrong, IDS), OF_IDS))
    net = Network(Sequential(nn.Embedding(7, 3), nn.Dense(4)), (2,), like=lib.asarray(0.0))
    expected = rf"contains the id {wrong}, but the network's Embedding has 7 rows \(ids 0 to 6\)"
    with pytest.raises(ValueError, match=f"^x_train {expected}"):
        fit(net, ((bad, t), (ids, t)), progress=False)
    with pytest.raises(ValueError, match=f"^x_test {expected}"):
        fit(net, ((ids, t), (bad, t)), progress=False)
    with pytest.raises(ValueError, match=f"^x {expected}"):
        evaluate(net, bad, t)
    fit(net, ((ids, t), (ids, t)), epochs=1, progress=False)


def test_ids_on_disk_are_checked_as_they_are_read():
    net = Network(Sequential(nn.Embedding(7, 3), nn.Dense(4)), (2,))
    good, bad = (Shards(x, OF_IDS) for x in (IDS, IDS + 1))
    fit(net, (good, good), epochs=1, progress=False)
    with pytest.raises(ValueError, match="^x_train contains the id 7, but the network's Embedding has 7 rows"):
        fit(net, (bad, good), epochs=1, progress=False)


def test_labels_that_the_network_does_not_have_are_refused_in_evaluation(lib):
    (x, t), _ = arrays(lib)
    net = MultiLayerNet(49, [8], 3, like=x)
    with pytest.raises(ValueError, match=r"^t contains the label 9, but the network has 3 classes \(labels 0 to 2\)"):
        evaluate(net, x, t)


# What people pass


def test_a_test_set_is_optional_and_may_stand_in_three_places(lib):
    train, test = arrays(lib, 100)

    def run(*given, **named):
        net = MultiLayerNet(49, [8], 10, like=train[0])
        return fit(net, *given, epochs=2, batch_size=50, progress=False, **named).history

    without = [run(train), run((train, None)), run(train, None), run(list(train))]
    with_one = [run((train, test)), run(train, test), run(train, test=test), run([train, test])]
    for history in [*without, *with_one]:
        assert history.loss == without[0].loss
        assert len(history.train_accuracy) == 3
    assert all(history.test_accuracy == history.test_loss == [] for history in without)
    assert all(len(history.test_accuracy) == len(history.test_loss) == 3 for history in with_one)


def test_the_loss_on_the_test_set_is_that_of_the_network(lib):
    train, test = arrays(lib, 100)
    net = MultiLayerNet(49, [8], 10, like=train[0])
    before = float(net.loss(*test))
    history = fit(net, train, test, epochs=1, progress=False).history
    np.testing.assert_allclose(history.test_loss, [before, float(net.loss(*test))], rtol=1e-5)


OPTIMIZERS = [
    (lambda: xpnet.Adam(), lambda: "adam"),
    (lambda: xpnet.Adam(), lambda: "Adam"),
    (lambda: xpnet.Adam(), lambda: xpnet.Adam),
    (lambda: SGD(), lambda: None),
    (lambda: xpnet.Momentum(), lambda: xpnet.Momentum),
]


@pytest.mark.parametrize(("same", "given"), OPTIMIZERS)
def test_an_optimizer_is_an_object_a_class_or_a_name(lib, same, given):
    data = arrays(lib, 100)

    def losses(*args, **named):
        return fit(
            MultiLayerNet(49, [8], 10, like=data[0][0]), data, *args, epochs=1, progress=False, **named
        ).history.loss

    expected = losses(same())
    assert losses(given()) == losses(optimizer=given()) == losses(None, given()) == expected


class Other:
    """An optimizer of another library."""

    def step(self):
        pass


@pytest.mark.parametrize(
    ("optimizer", "error", "match"),
    [
        ("adamm", ValueError, "optimizer 'adamm' is not known; choose one of adagrad, adam, adamw"),
        (Other(), TypeError, r"optimizer must be an optimizer of xpnet, such as SGD\(0.1\), .*got test_fit.Other$"),
        (Other, TypeError, "optimizer must be .*got test_fit.Other$"),
        (0.1, TypeError, "optimizer must be .*got float$"),
        (xpnet.Optimizer, TypeError, "optimizer must be .*Optimizer$"),
    ],
    ids=["name", "object", "class", "number", "base"],
)
def test_what_is_no_optimizer_is_refused(lib, optimizer, error, match):
    data = arrays(lib, 100)
    for call in (
        lambda: fit(MultiLayerNet(49, [8], 10, like=data[0][0]), data, optimizer),
        lambda: fit(MultiLayerNet(49, [8], 10, like=data[0][0]), data, optimizer=optimizer),
        lambda: train(data, optimizer=optimizer),
    ):
        with pytest.raises(error, match=match):
            call()


def test_a_learning_rate_goes_to_an_optimizer_that_is_named(lib):
    data = arrays(lib, 100)
    options = {"dtype": "float64"} if "float64" in lib.dtypes else {}

    def losses(**more):
        return train(data, epochs=1, batch_size=20, progress=False, **options, **more).history.loss

    assert losses(optimizer="adam", learning_rate=0.02) == losses(optimizer=xpnet.Adam(0.02))
    assert losses(learning_rate=0.5) == losses(optimizer=SGD(0.5)) != losses()
    assert losses(optimizer=xpnet.Adam) == losses(optimizer=xpnet.Adam())


def test_fit_makes_the_network_of_a_stack_as_train_does(lib):
    data = images(lib)
    stack = Sequential(nn.Conv2d(2, 3), nn.Relu(), nn.Dense(10))
    dtype = "float64" if "float64" in lib.dtypes else "float32"
    made = fit(stack, data, epochs=1, seed=4, progress=False)
    assert made.network.input_shape == (1, 7, 7)
    assert all(lib.holds(p) for p in made.network.params.values())
    assert made.history.loss == train(data, stack, dtype=dtype, epochs=1, seed=4, progress=False).history.loss
    of_ids = Sequential(nn.Embedding(7, 3), nn.Dense(4))
    ids = fit(of_ids, (lib.asarray(IDS), lib.asarray(OF_IDS)), epochs=1, progress=False).network
    assert ids.input_shape == (2,)
    assert xpnet.to_numpy(ids.params["W1"]).dtype == "float32"
    shards = fit(Sequential(nn.Dense(3)), Shards(np.eye(3, dtype="float32"), np.arange(3)), epochs=1, progress=False)
    assert shards.backend == "numpy"


def test_train_trains_a_network_where_it_is(lib):
    data = arrays(lib)
    host = tuple((lib.numpy(x), lib.numpy(t)) for x, t in data)
    results = []
    for given in (data, host):  # the second is moved
        net = MultiLayerNet(49, [8], 10, like=data[0][0])
        results.append(train(given, net, epochs=2, progress=False))
        assert results[-1].network is net
        assert all(lib.holds(p) for p in net.params.values())
    assert results[0].history.loss == results[1].history.loss
    assert results[0].backend == lib.backend.name
    with pytest.raises(ValueError, match="backend, device and dtype are for a network that train makes"):
        train(data, MultiLayerNet(49, [8], 10, like=data[0][0]), backend="numpy")


X, T = np.eye(3), np.arange(3)
STACK = Sequential(nn.Dense(3))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: fit(None, (X, T)), "network must be a Network or a Sequential, got None"),
        (lambda: fit(MultiLayerNet, (X, T)), "network must be .* got the class MultiLayerNet"),
        (lambda: fit(nn.Dense(3), (X, T)), "network must be .* got Dense"),
        (lambda: fit((X, T), STACK), r"network comes first, and then the data: fit\(network, data\)"),
        (lambda: fit(STACK, X, T), r"got ndarray; pass samples and targets as one tuple, \(x, t\)"),
        (lambda: fit(STACK, (None, T)), "x_train must be an array, got None"),
        (lambda: fit(STACK, (X, None)), "t_train must be an array, got None"),
        (lambda: fit(STACK, ((X, T), (X, None))), "t_test must be an array, got None"),
        (lambda: fit(STACK, (X, T), X), r"test must be \(x_test, t_test\) or Shards, got ndarray"),
        (lambda: fit(STACK, ((X, T), (X, T)), (X, T)), "data holds a test set, and another one is given as test"),
        (lambda: fit(STACK, (X, T), SGD(), SGD()), r"test must be \(x_test, t_test\) or Shards, got SGD"),
        (lambda: fit(STACK, (X, T), transform=3), "transform must be a function"),
        (lambda: train(STACK, (X, T)), r"dataset comes first, and then the network: train\(dataset, network\)"),
        (lambda: train((X, T), (X, T)), r"network must be .* got tuple; a dataset is one argument, \(x, t\)"),
        (lambda: train(X, T), r"network must be .* got ndarray; a dataset is one argument, \(x, t\)"),
        (lambda: train((X, T), MultiLayerNet), "network must be .* got the class MultiLayerNet"),
        (lambda: train((X, None)), "t_train must be an array, got None"),
        (lambda: train((X, T), loss="mse"), "unexpected keyword argument 'loss'"),  # a network has its loss
    ],
)
def test_an_argument_in_the_wrong_place_is_one_line(call, match):
    with pytest.raises(TypeError, match=match) as told:
        call()
    assert "\n" not in str(told.value)


def test_a_result_is_unpacked_names_its_place_and_is_short(lib):
    data = arrays(lib, 30)
    result = fit(MultiLayerNet(49, [8], 10, like=data[0][0]), data, epochs=8, batch_size=10, progress=False)
    network, history = result
    assert (network, history) == (result.network, result.history)
    assert result.backend == lib.backend.name
    assert result.device in lib.backend.devices()
    text = repr(result)
    assert len(text) < 500
    assert len(text.splitlines()) == 3
    assert text.startswith(f"Result on {lib.backend.name}, {result.device}\n")
    assert f"History(24 updates, 8 epochs, loss {sum(history.loss[-3:]) / 3:.4f}, train_accuracy" in text


def test_classes_of_targets_are_along_the_last_axis():
    ids, t = np.zeros((4, 5), int), np.zeros((4, 5, 3))
    t[..., 1] = 1.0  # each position has a class
    with pytest.raises(ValueError, match="flatten it first"):
        fit(Network(Sequential(nn.Embedding(7, 3)), (5,)), (ids, t), progress=False)
