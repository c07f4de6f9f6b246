"""The numbers of each format, and what happens to types that the check does not know."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.formats import FORMATS, coarser_than, coarsest_within, format_of  # noqa: E402


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_what_pytorch_says(name):
    each, limits = FORMATS[name], torch.finfo(getattr(torch, name))
    assert (each.epsilon, each.spacing, each.bits) == (limits.eps, limits.smallest_normal * limits.eps, limits.bits)
    assert torch.iinfo(each.integer).bits == each.bits
    assert format_of(each.tensor) is each


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, ">f4", "<f8"])
def test_numpy_s_types_are_the_same_formats(dtype):
    each, limits = format_of(np.dtype(dtype)), np.finfo(dtype)
    assert (each.epsilon, each.spacing) == (limits.eps, limits.smallest_subnormal)


def test_a_long_double_is_evaluated_in_float64():
    each = format_of(np.dtype(np.longdouble))
    assert each.tensor == torch.float64
    assert each.epsilon == np.finfo(np.longdouble).eps


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64, torch.int32, np.dtype(complex), np.dtype(int)])
def test_an_unknown_type_is_refused(dtype):
    with pytest.raises(TypeError, match="does not know how numbers of type"):
        format_of(dtype)


def test_formats_are_ordered_by_precision():
    assert [each.name for each in coarser_than(2.0**-52)] == ["float32", "float16", "bfloat16"]
    assert coarser_than(2.0**-7) == []
    assert coarsest_within(2.0**-10).name == "float16"
    assert coarsest_within(2.0**-11).name == "float32"
    assert coarsest_within(2.0**-63).name == "float64"
