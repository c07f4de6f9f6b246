"""What a GPU repeats as a graph trains the same network, proved on the CPU by graphs that only record operations."""

import numpy as np
import pytest

from manual_backprop import MLP
from manual_backprop.networks import CNN

torch = pytest.importorskip("torch")
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402 (needs torch)
from torch.utils._pytree import tree_leaves  # noqa: E402

from torch_reference import training as loop  # noqa: E402
from torch_reference.graphs import Graphs  # noqa: E402
from torch_reference.networks import ReferenceCNN, ReferenceMLP  # noqa: E402
from torch_reference.optimizer import fused_adam, matched_sgd  # noqa: E402


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


def multilayer_perceptron():
    mlp = MLP.xavier([16, 9, 4], seed=1, dropout=0.3)
    module = ReferenceMLP.from_manual(mlp)
    return mlp, module, matched_sgd(module)


def convolutional_network():
    cnn = CNN.xavier(seed=1, features=16, classes=4, filters=3, hidden=9, dropout=0.3)
    module = ReferenceCNN.from_manual(cnn)
    return cnn, module, fused_adam(torch.optim.Adam, module, 1e-3, weight_decay=0.1)


def figures(make, batch_size):
    """Train 22 epochs; return their figures, as they came, and the weights."""
    manual, module, optimizer = make()
    rng = np.random.default_rng(0)
    rows, labels = rng.random((50, 16), np.float32), rng.integers(0, 4, 50)
    train, valid = (
        loop.to_examples(rows[part], labels[part], like=next(module.parameters()))
        for part in (slice(0, 30), slice(30, 50))
    )
    asked = []

    def batches(epoch):
        asked.append(epoch)
        order = np.random.default_rng(epoch).permutation(30)
        return [slice(None)] if batch_size is None else np.split(order, range(batch_size, 30, batch_size))

    def masks(epoch):
        rng = np.random.default_rng([epoch, 1])
        return [manual.draw_keep(len(np.arange(30)[rows]), rng) for rows in batches(epoch)]

    parts = list(loop.train_epochs(module, optimizer, train, valid, range(3, 25), batches, masks))
    assert sorted(asked) == sorted([*range(3, 25)] * 2)
    return parts, module.to_manual()


def assert_trains_as_plainly(parts, weights, make, batch_size):
    one_by_one, right = figures(make, batch_size)
    assert [len(part) for part in one_by_one] == [1] * 22
    assert [len(part) for part in parts] == [1, 2, 4, 8, 7]
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(one_by_one))
    for name, value in right.items():
        np.testing.assert_array_equal(weights[name], value)


@pytest.mark.parametrize("make", [multilayer_perceptron, convolutional_network])
@pytest.mark.parametrize("batch_size", [None, 10, 7])
def test_replayed_epochs_train_as_those_before_them(make, batch_size, a_gpu_in_name, monkeypatch):
    monkeypatch.setattr(loop, "UPDATES_IN_A_GRAPH", 2)
    parts, weights = figures(make, batch_size)
    captured = [graph for graphs in a_gpu_in_name for graph in graphs.values()]
    assert captured
    assert all(graph.replays >= 20 for graph in captured)
    monkeypatch.undo()
    assert_trains_as_plainly(parts, weights, make, batch_size)


class RefusesToBegin(Graph):
    def __enter__(self):
        raise RuntimeError("operation not permitted\nwhile a stream is captured")


class RefusesAnOperation(Graph):
    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        raise torch.OutOfMemoryError("operation not permitted\nwhile a stream is captured")


@pytest.mark.parametrize("batch_size", [None, 10])
@pytest.mark.parametrize("make", [multilayer_perceptron, convolutional_network])
@pytest.mark.parametrize("graph", [RefusesToBegin, RefusesAnOperation])
def test_where_capturing_fails_training_goes_on_with_one_line(make, batch_size, graph, a_gpu_in_name, monkeypatch):
    monkeypatch.setattr(torch.cuda, "CUDAGraph", graph)
    with pytest.warns(UserWarning, match="without CUDA graphs") as warned:
        parts, weights = figures(make, batch_size)
    assert [str(warning.message) for warning in warned] == [
        "training without CUDA graphs, which is slower: operation not permitted"
    ]
    monkeypatch.undo()
    assert_trains_as_plainly(parts, weights, make, batch_size)


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
