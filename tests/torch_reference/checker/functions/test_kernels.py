import pytest

torch = pytest.importorskip("torch")

from kernels import blocks, indexing, losses, normalization, pointwise, products  # noqa: E402

from torch_reference import crosscheck_function  # noqa: E402

FAMILIES = (blocks, indexing, losses, normalization, pointwise, products)
FAULTS = [each for family in FAMILIES for each in family.FAULTS]
RIGHT = [each for family in FAMILIES for each in family.RIGHT]
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def checked(kernel, dtype=None, **options):
    inputs = kernel.inputs(torch.Generator().manual_seed(1), dtype or kernel.dtype)
    return crosscheck_function(kernel.function, kernel.reference, inputs, **kernel.options, **options)


def cases(kernels, share):
    """Return tests of faults; where a step has to be looked for, all but one in so many are slow."""
    searched = [each for each in kernels if each.codes.startswith("derivative")]
    long = [each for number, each in enumerate(searched) if number % share]
    return [pytest.param(each, id=str(each), marks=[pytest.mark.slow] if each in long else []) for each in kernels]


@pytest.mark.parametrize("fault", cases(FAULTS, 6))
def test_a_fault_is_found_and_named(fault):
    report = checked(fault)
    found = {name: gradient.code for name, gradient in report.gradients.items() if not gradient.ok}
    assert set(found.values()) & set(fault.codes.split()), report
    assert not fault.where or found.get(fault.where) in fault.codes.split(), report


# the first of each kind and family
ALIKE = {
    (family, each.codes): each
    for family in FAMILIES
    for each in reversed(family.FAULTS)
    if each.dtype == torch.float32 and each.codes and not {"mismatch", "precision", "term"} & set(each.codes.split())
}


@pytest.mark.parametrize("fault", cases(ALIKE.values(), 3))
def test_a_fault_has_the_same_name_in_bfloat16(fault):
    report = checked(fault, torch.bfloat16)
    found = {name: gradient.code for name, gradient in report.gradients.items() if not gradient.ok}
    assert set(found.values()) & set(fault.codes.split()), report
    assert not fault.where or found.get(fault.where) in fault.codes.split(), report


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("right", RIGHT, ids=str)
def test_what_is_right_is_not_accused(right, dtype):
    report = checked(right, dtype)
    assert report.ok, report


LOW = [each for each in FAULTS if each.codes == "precision" and each.dtype in (torch.bfloat16, torch.float16)]


@pytest.mark.parametrize("fault", LOW, ids=str)
def test_sums_of_low_precision_are_not_taken_for_a_result_of_low_precision(fault):
    name = torch.finfo(fault.dtype).dtype
    words = f"The formula is right, but intermediate results or sums are kept in {name} inside."
    assert checked(fault).gradients[fault.where].message == words
