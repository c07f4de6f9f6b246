import numpy as np
import pytest

torch = pytest.importorskip("torch")

from kernels.common import kernel, normal  # noqa: E402

from torch_reference import assert_function_matches, crosscheck_function  # noqa: E402
from torch_reference.checker.functions.probes.layout import LAYOUTS  # noqa: E402


def draw(*shape, dtype=torch.float32, seed=0):
    return normal(torch.Generator().manual_seed(seed), *shape, dtype=dtype)


def scaled(factor, of=torch.sigmoid):
    """A function whose gradient is a factor times the right one."""

    def forward(ctx, x):
        ctx.save_for_backward(x)
        return of(x)

    def backward(ctx, upstream):
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            return factor * torch.autograd.grad(of(x), x, upstream)[0]

    return kernel(forward, backward)


def test_the_report_has_an_entry_for_each_output_and_each_floating_input():
    inputs = {"x": draw(3, 4), "places": torch.tensor([0, 2]), "scale": 2.0, "nothing": None, "name": "sum"}

    def function(x, places, scale, nothing, name):
        assert nothing is None
        return getattr(torch, name)(x[:, places] * scale, -1), x.argmax(-1)

    report = crosscheck_function(function, function, inputs)
    assert list(report.gradients) == ["output.0", "output.1", "x"]
    assert report.ok
    assert list(crosscheck_function(torch.sigmoid, torch.sigmoid, {"x": draw(3)}).gradients) == ["output", "x"]


@pytest.mark.parametrize("factor", [1.001, 2.0, -1.0])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_a_factor_is_named(dtype, factor):
    report = crosscheck_function(scaled(factor), torch.sigmoid, {"x": draw(4, 5, dtype=dtype)})
    assert report.gradients["x"].code == ("sign" if factor == -1 else "scale")
    assert report.gradients["output"].code == "match"


def test_a_wrong_output_is_told_from_a_wrong_gradient():
    report = crosscheck_function(lambda x: torch.sigmoid(x) + 1, torch.sigmoid, {"x": draw(4, 5)})
    assert not report.gradients["output"].ok
    assert report.gradients["x"].ok


def test_the_assertion_shows_the_table():
    with pytest.raises(AssertionError, match=r"(?s)the function differs from its reference.*x +\(4,5\) +scale"):
        assert_function_matches(scaled(2.0), torch.sigmoid, {"x": draw(4, 5)})
    assert_function_matches(torch.sigmoid, torch.sigmoid, {"x": draw(4, 5)})


def test_inputs_stay_as_they_are():
    x = draw(3, 4).requires_grad_()
    before = x.detach().clone()
    crosscheck_function(lambda x: x.detach().mul_(2) + x, lambda x: 3 * x, {"x": x})
    assert torch.equal(x, before)
    assert x.grad is None


@pytest.mark.parametrize("lay", LAYOUTS.values(), ids=LAYOUTS)
def test_a_strided_input_is_judged_as_it_lies(lay):
    assert crosscheck_function(torch.sigmoid, torch.sigmoid, {"x": lay(draw(2, 3, 4))}).ok


def test_a_strided_input_may_be_what_is_wrong():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return 2 * upstream * torch.as_strided(x, x.shape, torch.empty(x.shape).stride())

    report = crosscheck_function(kernel(forward, backward), torch.square, {"x": draw(4, 4).T})
    assert report.gradients["x"].code == "layout"
    assert "strides of x" in report.gradients["x"].message


def test_no_gradient_at_all_is_missing():
    report = crosscheck_function(lambda x: x.detach().sigmoid(), torch.sigmoid, {"x": draw(3)})
    assert report.gradients["x"].code == "missing"


def test_none_for_what_the_reference_takes_for_a_constant_is_right():
    def forward(ctx, x, weight):
        ctx.save_for_backward(weight)
        return x * weight

    def backward(ctx, upstream):
        return upstream * ctx.saved_tensors[0], None

    inputs = {"x": draw(3), "weight": draw(3, seed=1)}
    function = kernel(forward, backward)
    assert crosscheck_function(function, lambda x, weight: x * weight.detach(), inputs).ok
    assert crosscheck_function(function, torch.mul, inputs).gradients["weight"].code == "missing"
    inputs["x"].requires_grad_()
    assert crosscheck_function(function, torch.mul, inputs).ok  # that of weight is not asked for


def test_a_lower_precision_than_the_reference_returns_is_named():
    def low(x):
        return torch.sigmoid(x).bfloat16()

    assert crosscheck_function(low, torch.sigmoid, {"x": draw(4, 5)}).gradients["output"].code == "precision"
    assert crosscheck_function(low, low, {"x": draw(4, 5)}).ok


def test_a_gradient_of_another_shape_is_an_error_with_a_name():
    def forward(ctx, x):
        return x.clone()

    def backward(ctx, upstream):
        return upstream.T

    report = crosscheck_function(kernel(forward, backward), torch.clone, {"x": draw(3, 4)})
    assert report.gradients["x"].code == "shape"


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_rounding_once_matches_and_rounding_on_the_way_is_rounded(dtype):
    inputs = {"x": draw(30, 7, dtype=dtype), "y": draw(30, 7, dtype=dtype, seed=1)}

    def reference(x, y):
        return torch.tanh(x) * y * torch.sigmoid(x + y)

    def inside(x, y):
        return reference(x.float(), y.float()).to(x.dtype)

    assert {each.code for each in crosscheck_function(inside, reference, inputs, strict=True).gradients.values()} == {
        "match"
    }
    report = crosscheck_function(reference, reference, inputs)
    assert report.ok
    assert {each.code for each in report.gradients.values()} == {"rounded"}
    assert "times smaller" in report.gradients["x"].message
    assert not crosscheck_function(reference, reference, inputs, strict=True).ok


def test_low_precision_may_cut_bits_off():
    def cut(x):
        whole = torch.sigmoid(x.float())
        return (whole.view(torch.int32) & -65536).view(torch.float32).bfloat16()

    report = crosscheck_function(cut, torch.sigmoid, {"x": draw(30, 7, dtype=torch.bfloat16)})
    assert report.gradients["output"].code == "match"


def test_a_reference_that_casts_is_evaluated_in_float64():
    def reference(x):
        return torch.sigmoid(x.float()).to(x.dtype)

    report = crosscheck_function(torch.sigmoid, reference, {"x": draw(5, 6, dtype=torch.bfloat16)})
    assert report.ok
    right = torch.sigmoid(draw(5, 6, dtype=torch.bfloat16).double())
    np.testing.assert_array_equal(report.gradients["output"].reference, right.numpy())


def test_the_gradient_of_the_gradient():
    right = crosscheck_function(torch.sigmoid, torch.sigmoid, {"x": draw(3, 4)}, order=2)
    assert right.ok
    assert list(right.gradients)[2:] == ["order2.x", "order2.output"]
    wrong = crosscheck_function(scaled(1.0), torch.sigmoid, {"x": draw(3, 4)}, order=2)
    assert wrong.gradients["x"].ok
    assert not wrong.gradients["order2.x"].ok  # its backward pass forgets that it depends on x


def test_stress_says_with_which_inputs():
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.linalg.vector_norm(x, dim=-1)

    def backward(ctx, upstream):
        (x,) = ctx.saved_tensors
        return upstream[..., None] * x / torch.linalg.vector_norm(x, dim=-1, keepdim=True)

    def reference(x):
        return torch.linalg.vector_norm(x, dim=-1)

    function = kernel(forward, backward)
    assert crosscheck_function(function, reference, {"x": draw(3, 4)}).ok
    report = crosscheck_function(function, reference, {"x": draw(3, 4)}, stress=True)
    assert report.gradients["x"].code == "nonfinite"
    assert report.gradients["x"].message.startswith("With x all zeros")
    assert crosscheck_function(torch.sigmoid, torch.sigmoid, {"x": draw(3, 4)}, stress=True).ok


@pytest.mark.parametrize("size", [9, 8])
def test_stress_tries_sizes_that_no_block_divides(size):
    def forward(ctx, x):
        return 2 * x

    def backward(ctx, upstream):
        gradient = torch.zeros_like(upstream)
        whole = upstream.shape[-1] // 4 * 4
        gradient[..., :whole] = 2 * upstream[..., :whole]
        return gradient

    report = crosscheck_function(kernel(forward, backward), lambda x: 2 * x, {"x": draw(2, size)}, stress=size == 8)
    assert report.gradients["x"].code == "partial"
    assert report.gradients["x"].message.startswith("With sizes of 9 for 8") == (size == 8)


@pytest.mark.parametrize(
    ("inputs", "error", "words"),
    [
        ({"n": 3}, ValueError, "nothing to differentiate"),
        ({"output": torch.ones(2)}, ValueError, "rename"),
        ({"x": torch.ones(2, dtype=torch.complex64)}, TypeError, "real numbers"),
        ({"x": torch.ones(2, dtype=torch.float8_e5m2)}, TypeError, "float8_e5m2"),
    ],
)
def test_inputs_that_cannot_be_checked_are_refused_in_one_line(inputs, error, words):
    with pytest.raises(error, match=words) as caught:
        crosscheck_function(lambda x: x, lambda x: x, inputs)
    assert "\n" not in str(caught.value)


def test_outputs_have_to_correspond():
    with pytest.raises(ValueError, match=r"output.*reference"):
        crosscheck_function(lambda x: (x, x), lambda x: x, {"x": draw(3)})
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        crosscheck_function(lambda x: x, lambda x: x.sum(), {"x": draw(3)})
    with pytest.raises(TypeError, match="tensor"):
        crosscheck_function(lambda x: 1.0, lambda x: x, {"x": draw(3)})


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_tensors_stay_on_their_device(dtype):
    seen = []

    def function(x, mask):
        seen.append((x.device.type, mask.device.type))
        return torch.sigmoid(x) * mask

    inputs = {"x": draw(40, 30, dtype=dtype).cuda(), "mask": torch.ones(30, dtype=torch.bool, device="cuda")}
    for device in ("cpu", "cuda"):
        assert crosscheck_function(function, lambda x, mask: torch.sigmoid(x) * mask, inputs, device=device).ok
    assert set(seen) == {("cuda", "cuda")}
