"""Where the noise enters a computation, and how much of it: what each operation asks of the jitter."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.noise import RoundingNoise  # noqa: E402 (needs torch)
from torch_reference.checker.reference.operations import FUSED  # noqa: E402


class Spy:
    """In place of a jitter: changes nothing, and notes what it is asked for."""

    def __init__(self):
        self.asked, self.salt, self.salts = [], 0, set()

    def moved(self, tensor, terms=1.0, scale=None, fresh=False):
        self.asked.append(("moved", tuple(tensor.shape), terms, None if scale is None else tuple(scale.shape), fresh))
        self.salts.add(self.salt)
        return tensor

    def constant(self, number):
        if not isinstance(number, torch.Tensor):
            self.asked.append(("constant", number))
        return number

    def of_terms(self, tensor, axes, terms):
        self.asked.append(("terms", tuple(tensor.shape), axes, terms.tolist() if torch.is_tensor(terms) else terms))
        return tensor

    def of_means(self, tensor, axes):
        self.asked.append(("means", tuple(tensor.shape), axes))
        return tensor


def asked(function, *inputs, decompose=frozenset()):
    """Return what a computation asks of the jitter, and check that it computes what it does without noise."""
    expected = function(*(tensor.clone() for tensor in inputs))
    with RoundingNoise(0.5, 0, decompose=decompose) as noise:
        noise.jitter = Spy()
        noise.begin(inputs)
        found = function(*inputs)
    torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-14)
    return noise.jitter.asked


def result(*shape, terms=1.0, scale=None):
    return ("moved", shape, terms, scale, True)


def operand(*shape):
    return ("moved", shape, 1.0, None, False)


ATEN = torch.ops.aten
X, Y = torch.full((6, 2), 0.5, dtype=torch.float64), torch.full((6, 2), 0.25, dtype=torch.float64)
Z = torch.full((2, 3, 5), 0.75, dtype=torch.float64)


@pytest.mark.parametrize(
    ("function", "inputs", "expected"),
    [
        (lambda x, y: x * y, (X, Y), [operand(6, 2), operand(6, 2), result(6, 2)]),
        (lambda x, y: (x * y) * 0.1, (X, Y), [operand(6, 2)] * 2 + [result(6, 2), ("constant", 0.1), result(6, 2)]),
        (torch.relu, (X,), []),
        (lambda x: x.mT, (X,), []),
        (lambda x: x.long() + x.long(), (X,), []),
        (lambda x: x.sum(0), (X,), [("terms", (6, 2), (0,), 6), result(2, terms=2.0)]),
        (lambda x: x.sum(1), (X,), [("terms", (6, 2), (1,), 2), result(6)]),
        (lambda x, y: x.T @ y, (X, Y), [("terms", (2, 6), (1,), 6), result(2, 2, terms=2.0)]),
        (lambda x: x.clone().mul_(2.0), (X,), [result(6, 2)]),
        (lambda x: torch.complex(x, x), (X,), [operand(6, 2)] * 2 + [result(6, 2)]),
        (lambda x: torch.var_mean(x, 0), (X,), [operand(6, 2), ("constant", [0]), result(2), result(2)]),
        (lambda x: ATEN.sigmoid_backward(x, x), (X,), [operand(6, 2)] * 3 + [result(6, 2)]),
        (
            lambda x: ATEN.log_sigmoid_backward(x, x, x),
            (X,),
            [operand(6, 2)] * 3 + [result(6, 2, scale=(6, 2))],
        ),
        (
            lambda x: ATEN.embedding_dense_backward(x, torch.tensor([1, 1, 1, 1, 0, 2]), 3, -1, False),
            (X,),
            [("terms", (6, 2), (0,), [[4]] * 4 + [[1]] * 2), result(3, 2)],
        ),
    ],
)  # fmt: skip
def test_what_gets_noise_and_how_much(function, inputs, expected):
    assert asked(function, *inputs) == expected


def test_a_backward_pass_of_several_results_gets_the_noise_of_each_by_itself():
    mean, deviation = torch.zeros(2, 3, 1, dtype=torch.float64), torch.ones(2, 3, 1, dtype=torch.float64)
    weight = torch.ones(5, dtype=torch.float64)

    def backward(z, mask):
        args = z + 0, z * 2, [5], mean, deviation, weight, weight, mask
        return [each for each in ATEN.native_layer_norm_backward(*args) if each is not None]

    def after(mask):
        return asked(lambda z: backward(z, mask), Z)[-5:]

    own = [operand(2, 3, 5), result(2, 3, 5)]
    sums = [("terms", (2, 3, 5), (0, 1), 6.0), result(5, terms=2.0), result(5, terms=2.0)]
    means = ("means", (2, 3, 5), (2,))
    assert asked(lambda z: backward(z, [True] * 3), Z)[-6:] == [*own, *sums, means]
    assert after([True, False, False])[-3:] == [*own, means]
    assert after([False, True, True])[-3:] == sums
    assert after([False, False, True])[-2:] == sums[:2]


def test_inputs_get_noise_before_a_backward_pass_of_several_results():
    inputs = (torch.ones(1, 1, 2, 2).double(), torch.ones(1, 2, 3, 3).double(), torch.ones(1, 2, 2, 2).double())

    def backward(grad, x, w, mask):
        args = grad, x, w, [0], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, mask
        return [each for each in ATEN.convolution_backward(*args) if each is not None]

    shapes = [operand(*tensor.shape) for tensor in inputs]
    terms = ("terms", (1, 1, 2, 2), (1,), 4.0), ("terms", (1, 1, 2, 2), (0, 2, 3), 4.0)
    assert asked(lambda *given: backward(*given, [True, True, False]), *inputs) == [
        *shapes, terms[0], result(1, 2, 3, 3, terms=4 / 3), terms[1], result(1, 2, 2, 2, terms=4 / 3)
    ]  # fmt: skip


def test_a_fused_operation_taken_apart_gets_noise_at_every_step_and_decides_nothing():
    def function(x):
        return torch.nn.functional.elu(x * 2)

    whole, steps = asked(function, X), asked(function, X, decompose=FUSED)
    assert whole[-1:] == [result(6, 2)]
    assert len(steps) > len(whole)
    with RoundingNoise(0.0, 0, decompose=FUSED) as noise:
        function(X)
    assert noise.decisions != 0
    with RoundingNoise(0.0, 0) as plain:
        function(X)
    assert noise.decisions == plain.decisions


@pytest.mark.parametrize(("decompose", "number"), [(frozenset(), 1), (FUSED, 2)])
def test_equal_results_of_two_operations_move_apart_in_a_closer_look(decompose, number):
    with RoundingNoise(0.5, 0, decompose=decompose) as noise:
        noise.jitter = Spy()
        torch.exp(X) + torch.exp(X)
    assert len(noise.jitter.salts) == number
    assert (decompose == FUSED) == (max(noise.jitter.salts) > 2**32)
    moved = []
    for operation in (torch.exp, torch.exp2):
        with RoundingNoise(2.0**-10, 0, decompose=decompose):
            moved.append(float(operation(torch.zeros(1, dtype=torch.float64))))
    assert (moved[0] == moved[1]) == (not decompose)
