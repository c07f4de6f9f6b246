"""PyTorch's gradients as the training loop computes them, against ``MLP.backprop`` and to rounding.

Where there is a GPU: eager, from a captured graph, and with TF32. The CPU's loop runs the same tests everywhere.
"""

import numpy as np
import pytest

from manual_backprop import MLP

torch = pytest.importorskip("torch")
from torch.nn.functional import cross_entropy, relu  # noqa: E402 (needs torch)
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from torch_reference import ReferenceMLP, crosscheck  # noqa: E402
from torch_reference import training as loop  # noqa: E402
from torch_reference.graphs import Graphs  # noqa: E402
from torch_reference.optimizer import matched_sgd  # noqa: E402

GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and PyTorch finds none"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])
EPOCHS = {"eager": 1, "captured": 3}  # the second epoch is captured; a graph gives the gradient of the third


def draw(seed, sizes, count, dtype=np.float32):
    """Random rows, labels and weights, under the names that the check's functions take."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, sizes[0])).astype(dtype)
    parameters = MLP.xavier(sizes, seed, dtype).parameters
    named = {name.replace(".", "_"): value for name, value in parameters.items()}
    return {"x": x, "labels": rng.integers(0, sizes[-1], count)} | named


def network(inputs):
    return MLP({name.replace("_", "."): value for name, value in inputs.items() if name.startswith("layers")})


def gradients(device, way="eager"):
    """What the loop leaves in ``parameter.grad``, as a function of the inputs; no weight moves on the way."""

    def manual(x, labels, **parameters):
        module = ReferenceMLP.from_manual(network(parameters)).to(device)
        optimizer = matched_sgd(module, learning_rate=0, initial_velocity=0)
        train = loop.to_examples(x, labels, like=next(module.parameters()))
        valid = (train[0][:0], train[1][:0])
        for _ in loop.train_epochs(module, optimizer, train, valid, range(EPOCHS[way]), lambda epoch: [slice(None)]):
            pass
        grads = {name: value.grad.cpu().numpy().T for name, value in module.named_parameters()}
        return {name.replace(".", "_"): np.ascontiguousarray(value) for name, value in grads.items()}

    return manual


def reference(x, labels, **parameters):
    for i in range(len(parameters) // 2):
        x = relu(x) if i else x
        x = x @ parameters[f"layers_{i}_weight"] + parameters[f"layers_{i}_bias"]
    return cross_entropy(x, labels)


SHAPES = [((784, 64, 10), 128), ((30, 17, 9, 5), 33), ((7, 3), 1)]


@DEVICES
@pytest.mark.parametrize("way", EPOCHS)
@pytest.mark.parametrize(("sizes", "count"), SHAPES)
def test_the_loop_has_the_right_gradients(device, way, sizes, count):
    report = crosscheck(gradients(device, way), reference, draw(count, sizes, count))
    assert report.ok, report


@DEVICES
@pytest.mark.parametrize("way", EPOCHS)
@pytest.mark.parametrize(("sizes", "count"), SHAPES)
def test_the_loop_and_the_hand_derived_gradients_agree(device, way, sizes, count):
    """The NumPy gradient in float64 is the right one here; what remains is float32's rounding in the loop."""
    inputs = draw(count, sizes, count)
    found = gradients(device, way)(**inputs)
    right = draw(count, sizes, count, np.float64) | {name: np.asarray(inputs[name], np.float64) for name in found}
    _, exact = network(right).backprop(inputs["x"].astype(np.float64), inputs["labels"])
    # a sum of n terms is off by at most n roundings of 6e-8; no sum here has more terms than 784 + 128
    for name, gradient in exact.items():
        tolerance = 1000 * 6e-8 * np.abs(gradient).max()
        np.testing.assert_allclose(found[name.replace(".", "_")], gradient, rtol=0, atol=tolerance)


@DEVICES
def test_one_entry_that_is_wrong_by_a_ten_thousandth_is_found(device):
    inputs = draw(1, (784, 64, 10), 128)
    right = gradients(device)

    def wrong(**arrays):
        found = right(**arrays)
        weight = found["layers_0_weight"]
        weight[np.unravel_index(np.abs(weight).argmax(), weight.shape)] *= 1 + 1e-4
        return found

    report = crosscheck(wrong, reference, inputs)
    assert {name for name, entry in report.gradients.items() if not entry.ok} == {"layers_0_weight"}, report


@pytest.mark.slow
@DEVICES
def test_a_thousand_right_draws_raise_no_alarm(device):
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        sizes = [*rng.integers(1, 80, rng.integers(1, 4)).tolist(), int(rng.integers(2, 12))]
        report = crosscheck(
            gradients(device, ("eager", "captured")[seed % 2]), reference, draw(seed, sizes, 1 + seed % 97)
        )
        assert report.ok, f"seed {seed}, {sizes}: {report}"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and PyTorch finds none")
@pytest.mark.parametrize("way", EPOCHS)
def test_tf32_is_seen_and_called_a_lower_precision(way):
    inputs = draw(2, (784, 64, 10), 128)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        report = crosscheck(gradients("cuda", way), reference, inputs)
    finally:
        torch.set_float32_matmul_precision(before)
    assert report.gradients["layers_0_weight"].code == "precision", report


# With 3 updates in a graph, and blocks of 2 rows, an epoch is many graphs and a batch many blocks; batches of 9 fill
# the last graph too.
@DEVICES
@pytest.mark.parametrize("batch_size", [None, 10, 9, 7])
def test_blocks_and_graphs_change_no_curve(device, batch_size, monkeypatch):
    def figures():
        mlp = MLP.xavier([12, 9, 4], seed=1, dtype=np.float64)
        module = ReferenceMLP.from_manual(mlp).to(device)
        rng = np.random.default_rng(2)
        rows, labels = rng.random((73, 12)), rng.integers(0, 4, 73)
        train, valid = (
            loop.to_examples(rows[part], labels[part], like=next(module.parameters()))
            for part in (slice(0, 50), slice(50, 73))
        )

        def batches(epoch):
            order = np.random.default_rng(epoch).permutation(50)
            return [slice(None)] if batch_size is None else np.split(order, range(batch_size, 50, batch_size))

        epochs = loop.train_epochs(module, matched_sgd(module), train, valid, range(40), batches)
        return np.concatenate(list(epochs)), module.to_manual()

    plain, plain_weights = figures()
    monkeypatch.setattr(loop, "BLOCK_OUTPUTS", {"cpu": 26, "cuda": 26})
    monkeypatch.setattr(loop, "UPDATES_IN_A_GRAPH", 3)
    cut, cut_weights = figures()
    assert plain.shape == (40, 4)
    # other sums of the same float64 terms: 1e-9 is what the project promises, seen is below 1e-14
    np.testing.assert_allclose(cut, plain, rtol=0, atol=1e-9)
    for name, value in plain_weights.items():
        np.testing.assert_allclose(cut_weights[name], value, rtol=0, atol=1e-9)


class Graph(TorchDispatchMode):
    """What a CUDA graph does, on the CPU: the same operations again, from and into the same memory."""

    def __init__(self):
        super().__init__()
        self.operations = []
        self.replays = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        results = function(*arguments, **options or {})
        self.operations.append((function, arguments, options or {}, results))
        return results

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        if self.replays == 1:
            return  # a GPU only notes down what is captured; here it has been done already
        for function, arguments, options, results in self.operations:
            again = function(*arguments, **options)
            for old, new in zip(tree_leaves(results), tree_leaves(again), strict=True):
                if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():  # neither in place nor a view
                    old.copy_(new)


@pytest.fixture
def a_gpu_in_name(monkeypatch):
    """Let the loop believe that the CPU is a GPU, and return the graphs that it captures."""
    graphs = []

    class Loop(loop._Loop):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.on_gpu = self.graphs.usable = True
            graphs.append(self.graphs.graphs)

    monkeypatch.setattr(loop, "_Loop", Loop)
    monkeypatch.setattr(loop, "SECONDS_UNWATCHED", 60)  # however busy this machine is
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph, stream: graph)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda rows: rows)
    return graphs


def figures(batch_size):
    """Train 22 epochs; return their figures, as they came, and the weights."""
    module = ReferenceMLP.from_manual(MLP.xavier([12, 9, 4], seed=1))
    rng = np.random.default_rng(0)
    rows, labels = rng.random((50, 12), np.float32), rng.integers(0, 4, 50)
    train, valid = (
        loop.to_examples(rows[part], labels[part], like=next(module.parameters()))
        for part in (slice(0, 30), slice(30, 50))
    )
    asked = []

    def batches(epoch):
        asked.append(epoch)
        order = np.random.default_rng(epoch).permutation(30)
        return [slice(None)] if batch_size is None else np.split(order, range(batch_size, 30, batch_size))

    parts = list(loop.train_epochs(module, matched_sgd(module), train, valid, range(3, 25), batches))
    assert asked == list(range(3, 25))
    return parts, module.to_manual()


def assert_trains_as_plainly(parts, weights, batch_size):
    one_by_one, right = figures(batch_size)
    assert [len(part) for part in one_by_one] == [1] * 22
    assert [len(part) for part in parts] == [1, 2, 4, 8, 7]
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(one_by_one))
    for name, value in right.items():
        np.testing.assert_array_equal(weights[name], value)


@pytest.mark.parametrize("batch_size", [None, 10, 7])
def test_replayed_epochs_train_as_those_before_them(batch_size, a_gpu_in_name, monkeypatch):
    monkeypatch.setattr(loop, "UPDATES_IN_A_GRAPH", 2)
    parts, weights = figures(batch_size)
    captured = [graph for graphs in a_gpu_in_name for graph in graphs.values()]
    assert captured
    assert all(graph.replays >= 20 for graph in captured)
    monkeypatch.undo()
    assert_trains_as_plainly(parts, weights, batch_size)


class RefusesToBegin(Graph):
    def __enter__(self):
        raise RuntimeError("operation not permitted\nwhile a stream is captured")


class RefusesAnOperation(Graph):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        raise torch.OutOfMemoryError("operation not permitted\nwhile a stream is captured")


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("graph", [RefusesToBegin, RefusesAnOperation])
def test_where_capturing_fails_training_goes_on_with_one_line(batch_size, graph, a_gpu_in_name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    with pytest.warns(UserWarning, match="without CUDA graphs") as warned:
        parts, weights = figures(batch_size)
    assert [str(warning.message) for warning in warned] == [
        "training without CUDA graphs, which is slower: operation not permitted"
    ]
    monkeypatch.undo()
    assert_trains_as_plainly(parts, weights, batch_size)


class NothingToWaitFor(TorchDispatchMode):
    """Refuse what makes the host wait for the device, or copies from the host: a graph cannot hold it."""

    REFUSED = ("_local_scalar_dense", "nonzero", "lift_fresh", "equal", "unique")

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        name = function.overloadpacket.__name__
        assert name not in self.REFUSED, name
        return function(*arguments, **options or {})


@pytest.mark.parametrize(
    "batches", [[slice(None)], [np.arange(20), np.arange(20, 30)]], ids=["full batch", "minibatches"]
)
def test_what_a_graph_repeats_never_waits_for_the_host(batches, monkeypatch):
    module = ReferenceMLP([12, 9, 4])
    train = torch.rand(30, 12), torch.randint(4, (30,))
    repeat = Graphs.repeat
    repeated = []

    def watched(self, work, key):
        if len(repeated) < 1:
            repeat(self, work, key)  # the first time, which is not captured
        else:
            with NothingToWaitFor():
                repeat(self, work, key)
        repeated.append(key)

    monkeypatch.setattr(Graphs, "repeat", watched)
    epochs = loop.train_epochs(module, matched_sgd(module), train, train, range(3), lambda epoch: batches)
    assert len(list(epochs)) == 3
    assert len(repeated) == 3
    assert len(set(repeated)) == 1


def test_the_watch_on_waiting_sees_it():
    with NothingToWaitFor(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        torch.ones(()).item()
