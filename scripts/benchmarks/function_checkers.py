"""Apply the usual checks to PyTorch functions: to those with a planted fault, and to right ones.

Each is applied as its documentation says: gradcheck to float64 inputs, assert_close to outputs and gradients beside the
reference's in the same precision, with random contiguous upstream gradients, opcheck to the function as a custom
operator whose fake form is the reference.
"""

import sys
from collections.abc import Callable
from itertools import count, product
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "helpers"))
from kernels import blocks, indexing, losses, normalization, pointwise, products

from torch_reference import crosscheck_function
from torch_reference.checker.functions.probes.layout import sliced, transposed

FAMILIES = (blocks, indexing, losses, normalization, pointwise, products)
NUMBERS = count()  # of the operators, whose names must differ
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
LAYOUTS: dict[str, Any] = {"contiguous": torch.Tensor.contiguous, "transposed": transposed, "sliced": sliced}
Case = Any  # one row of the tables in tests/helpers/kernels


def inputs_of(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    """Return a case's inputs, whose floating ones require a gradient."""
    inputs = dict(case.inputs(torch.Generator().manual_seed(1), dtype))
    for value in inputs.values():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            value.requires_grad_()
    return inputs


def gradcheck(case: Case) -> bool:
    """Say whether torch.autograd.gradcheck accepts a function."""
    return bool(torch.autograd.gradcheck(case.function, tuple(inputs_of(case, torch.float64).values())))


def assert_close(case: Case) -> bool:
    """Say whether torch.testing.assert_close accepts the outputs and the gradients."""
    answers = []
    for function in (case.function, case.reference):
        inputs = inputs_of(case, case.dtype)
        leaves = [value for value in inputs.values() if isinstance(value, torch.Tensor) and value.requires_grad]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            returned = function(*inputs.values())
        outputs = [returned] if isinstance(returned, torch.Tensor) else list(returned)
        pairs = [(output, _upstream(output)) for output in outputs if output.requires_grad]
        gradients = torch.autograd.grad(
            [output for output, _ in pairs], leaves, [upstream for _, upstream in pairs], allow_unused=True
        )
        zeros = [torch.zeros_like(leaf) for leaf in leaves]
        filled = [zero if each is None else each for each, zero in zip(gradients, zeros, strict=True)]
        answers.append([*outputs, *filled])
    torch.testing.assert_close(*answers)
    return True


def _upstream(output: torch.Tensor) -> torch.Tensor:
    return torch.randn(output.shape, generator=torch.Generator().manual_seed(2)).to(output.dtype)


def opcheck(case: Case) -> bool:
    """Say whether torch.library.opcheck accepts a function as a custom operator."""
    inputs = inputs_of(case, case.dtype)
    values = list(inputs.values())
    schema = ", ".join(f"{_type(value)} x{place}" for place, value in enumerate(values))
    with torch.no_grad():
        returned = case.reference(*values)
    results = ["Tensor"] * (1 if isinstance(returned, torch.Tensor) else len(returned))
    name = f"compared::function{next(NUMBERS)}"

    def run(*given: Any) -> Any:
        outputs = case.function(*given)
        return outputs.clone() if isinstance(outputs, torch.Tensor) else tuple(each.clone() for each in outputs)

    def keep(ctx: Any, inputs: Any, output: Any) -> None:  # noqa: ARG001 (PyTorch passes it)
        ctx.given = inputs

    def backward(ctx: Any, *upstream: Any) -> Any:
        given = [
            each.detach().requires_grad_(each.is_floating_point()) if isinstance(each, torch.Tensor) else each
            for each in ctx.given
        ]
        leaves = [each for each in given if isinstance(each, torch.Tensor) and each.requires_grad]
        with torch.enable_grad():
            outputs = case.function(*given)
        outputs = [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)
        pairs = [(output, each) for output, each in zip(outputs, upstream, strict=True) if output.requires_grad]
        found = torch.autograd.grad([one for one, _ in pairs], leaves, [each for _, each in pairs], allow_unused=True)
        by_leaf = dict(zip(map(id, leaves), found, strict=True))
        return tuple(by_leaf.get(id(each)) for each in given)

    operator = torch.library.custom_op(name, run, mutates_args=(), schema=f"({schema}) -> ({', '.join(results)})")
    operator.register_fake(case.reference)
    operator.register_autograd(backward, setup_context=keep)
    tests = ("test_schema", "test_autograd_registration", "test_faketensor")  # the fourth traces, which takes long
    return set(torch.library.opcheck(operator, tuple(values), test_utils=tests).values()) == {"SUCCESS"}


def _type(value: Any) -> str:
    return "Tensor" if isinstance(value, torch.Tensor) else type(value).__name__


def ours(case: Case) -> bool:
    """Say whether crosscheck_function accepts a function."""
    return _report(case).ok


def _report(case: Case) -> Any:
    return crosscheck_function(case.function, case.reference, inputs_of(case, case.dtype), **case.options)


CHECKS: dict[str, Callable[[Case], bool]] = {
    "torch.autograd.gradcheck": gradcheck,
    "torch.testing.assert_close": assert_close,
    "torch.library.opcheck": opcheck,
    "crosscheck_function": ours,
}


def accepted(check: Callable[[Case], bool], case: Case) -> bool:
    """Say whether a check accepts a function; an exception, however it reads, is a refusal."""
    try:
        return check(case)
    except Exception:
        return False


def compare() -> list[tuple[str, ...]]:
    """Return the rows of the table."""
    faults = [case for family in FAMILIES for case in family.FAULTS]
    right = [case for family in FAMILIES for case in family.RIGHT]
    rows: list[tuple[str, ...]] = [
        ("check", f"of {len(faults)} wrong found", f"of {len(right)} right accused", "named")
    ]
    for title, check in CHECKS.items():
        found = sum(not accepted(check, case) for case in faults)
        accused = sum(not accepted(check, case) for case in right)
        named = str(sum(_is_named(case) for case in faults)) if check is ours else "no"
        rows.append((title, str(found), str(accused), named))
    return rows


def right_draws(seed: int) -> tuple[list[str], int]:
    """Return which right functions are accused, drawn over types and layouts of the inputs, and how many there were."""
    accused, number = [], 0
    for (words, lay), dtype, case in product(
        LAYOUTS.items(), TYPES, [case for each in FAMILIES for case in each.RIGHT]
    ):
        inputs = {
            name: lay(value) if isinstance(value, torch.Tensor) and value.is_floating_point() else value
            for name, value in case.inputs(torch.Generator().manual_seed(seed), dtype).items()
        }
        report = crosscheck_function(case.function, case.reference, inputs, seed, **case.options)
        number += 1
        if not report.ok:
            accused.append(f"{case.title}, {dtype}, {words}, seed {seed}")
    return accused, number


def _is_named(case: Case) -> bool:
    codes = [each.code for each in _report(case).gradients.values() if not each.ok]
    return bool(set(codes) & (set(case.codes.split()) - {"mismatch"}))
