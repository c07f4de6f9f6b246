"""Break every backward line on purpose, one mistake at a time, and see whether a test fails.

Each mutant is the package with one change: a sign, a transpose, a mask, an axis, a factor or an operand. The tests run
against it; a mutant that passes them is a hole in the tests. Exit status 0: none passed.
"""

import argparse
import ast
import sys
from collections.abc import Iterator
from functools import partial

from in_memory import verdicts
from mutants import ROOT, Mutant, Slot, mutate, print_verdicts, replaced

sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from layer_table import CASES

SIDE = "manual_backprop"
LAYERS, NETWORKS, FAST = f"{SIDE}/layers", f"{SIDE}/networks", f"{SIDE}/fast"
OPTIMIZERS = (f"{SIDE}/test_optimizers.py",)
CNN = (f"{FAST}/test_channel_parallel.py",)
GPT = (f"{FAST}/gpt/test_sharing.py",)


SLOPES = f"{LAYERS}/test_every_layer.py::test_gradients_are_slopes_in_extended_precision"


def _layers() -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Return every file of layers with its tests, the quickest first, and the functions in it that go back."""
    found = {}
    for path in sorted((ROOT / SIDE / "layers").glob("[!_]*.py")):
        nodes = ast.parse(path.read_text(encoding="utf-8")).body
        functions = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
        own = f"{LAYERS}/test_{path.stem}.py"
        tests = (*((own,) if (ROOT / "tests" / own).exists() else ()), LAYERS, "project/test_gradients.py")
        found[f"layers/{path.name}"] = (tests, tuple(name for name in functions if name.endswith("_backward")))
    return found


BACKWARD = _layers() | {
    "networks/chain.py": ((f"{NETWORKS}/test_mlp.py", NETWORKS), ("backward",)),
    "networks/gpt.py": (
        (f"{NETWORKS}/test_gpt.py",),
        ("backprop", "_mlp_backward", "_attention_backward", "_norm_backward"),
    ),
    "optimizers/momentum.py": (OPTIMIZERS, ("_move",)),
    "optimizers/adam.py": (OPTIMIZERS, ("_move", "_decayed")),
    "optimizers/clipping.py": (OPTIMIZERS, ("clip_grad_norm",)),
    "fast/cross_entropy_in_place.py": ((f"{FAST}/test_tensor_parallel.py", FAST), ("forward", "backward")),
    "fast/feature_maps.py": (CNN, ("backward", "_to_the_largest", "_pooled")),
    "fast/hidden_head.py": (CNN, ("score", "update")),
    "fast/channel_parallel.py": (CNN, ("_hidden_backward",)),
    "fast/gpt/layers.py": (GPT, ("norm_backward", "gelu_forward")),
    "fast/gpt/attention.py": (GPT, ("attention_backward",)),
    "fast/gpt/block.py": (GPT, ("backward", "_mlp_backward", "_attention_backward")),
    "fast/gpt/sharing.py": (GPT, ("_add_up", "_update")),
    "fast/in_place.py": ((f"{FAST}/test_in_place.py", FAST), ("backward",)),
    "fast/tensor_parallel.py": ((f"{FAST}/test_tensor_parallel.py", FAST), ("_backward", "_update", "_move")),
}
"""The functions of each file that are on the way back, and the tests that know them."""


def tests_of(file: str, function: str) -> list[str]:
    """Return the tests of a function; that of its layer's slopes, which takes no time, first."""
    layer = function.removesuffix("_backward")
    quick = [f"{SLOPES}[{layer}]"] if file.startswith("layers/") and layer in CASES.keys() - {"max_pool2d"} else []
    return [f"tests/{name}" for name in (*quick, *BACKWARD[file][0])]


def main(arguments: list[str] | None = None) -> int:
    """Try every mutant and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="which files, such as layers/affine.py (default: all)")
    options = parser.parse_args(arguments)
    for file in options.files:
        if file not in BACKWARD:
            parser.error(f"{file}: not one of {', '.join(BACKWARD)}")
    files = options.files or BACKWARD
    functions = [(file, function) for file in files for function in BACKWARD[file][1]]
    tried = [(mutant, tests_of(*function)) for function in functions for mutant in wrong(*function)]
    mutants, tests = [mutant for mutant, _ in tried], [tests for _, tests in tried]
    return 1 if print_verdicts(mutants, verdicts(mutants, tests)) else 0


def wrong(file: str, name: str) -> Iterator[Mutant]:
    """Yield every mutant of a function of a file."""
    path = f"{SIDE}/{file}"
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == name:
            names = [argument.arg for argument in function.args.args if argument.arg != "self"]
            yield from mutate(path, tree, slots(function), partial(changes, names=names))


def slots(parent: ast.AST) -> Iterator[Slot]:
    """Yield the arithmetic inside a function, each node with the place where another could stand."""
    for field, value in ast.iter_fields(parent):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if is_left_to_numpy(parent, child):
                continue
            if isinstance(child, ast.Raise | ast.If) or not isinstance(child, ast.AST):
                if isinstance(child, ast.If):  # the branches compute, the condition does not
                    for branch in (child.body, child.orelse):
                        yield from slots(ast.Module(branch, []))
                continue
            if isinstance(child, ast.expr | ast.stmt):
                yield parent, field, index, child
            yield from slots(child)


def is_left_to_numpy(parent: ast.AST, child: object) -> bool:
    """Tell whether a child is the -1 of a reshape; any other negative number would mean the same."""
    match parent, child:
        case ast.Call(func=ast.Attribute(attr="reshape")), ast.UnaryOp():
            return True
    return False


def changes(node: ast.AST, names: list[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield the mistakes that can be made at one node of the arithmetic, each with its kind."""
    match node:
        case ast.Assign(value=value) if is_array(value):
            yield "sign", replaced(node, value=ast.UnaryOp(ast.USub(), value))
            yield "factor", replaced(node, value=ast.BinOp(value, ast.Mult(), ast.Constant(2)))
        case ast.Return(value=ast.BinOp() as value):
            yield "sign", replaced(node, value=ast.UnaryOp(ast.USub(), value))
            yield "factor", replaced(node, value=ast.BinOp(value, ast.Mult(), ast.Constant(2)))
        case ast.AugAssign(op=ast.Add()):
            yield "sign", replaced(node, op=ast.Sub())
        case ast.AugAssign(op=ast.Sub()):
            yield "sign", replaced(node, op=ast.Add())
        case ast.AugAssign(op=ast.Mult() | ast.Div()):
            yield "factor", ast.Pass()
        case ast.Call(func=ast.Attribute(attr="matmul"), args=[left, right]):
            yield "transpose", replaced(node, args=[ast.Attribute(left, "T"), right])
            yield "transpose", replaced(node, args=[left, ast.Attribute(right, "T")])
        case ast.Call(func=ast.Attribute(attr="greater") as function):
            yield "mask", replaced(node, func=replaced(function, attr="greater_equal"))
            yield "mask", replaced(node, func=replaced(function, attr="less"))
        case ast.BinOp(left=left, op=ast.MatMult(), right=right):
            yield "operand", ast.BinOp(right, node.op, left)
            yield "transpose", replaced(node, left=ast.Attribute(left, "T"))
            yield "transpose", replaced(node, right=ast.Attribute(right, "T"))
        case ast.BinOp(left=left, op=ast.Mult() | ast.Div(), right=right):
            yield "factor", left
            yield "factor", replaced(node, op=ast.Div() if isinstance(node.op, ast.Mult) else ast.Mult())
            if isinstance(node.op, ast.Mult):
                yield "operand", right
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            yield "sign", replaced(node, op=ast.Add())
            yield "sign", ast.BinOp(right, node.op, left)
            yield "operand", left
        case ast.Compare(ops=[ast.Gt()]):
            yield "mask", replaced(node, ops=[ast.GtE()])
            yield "mask", replaced(node, ops=[ast.Lt()])
            yield "mask", ast.Constant(True)
        case ast.Attribute(value=value, attr="T"):
            yield "transpose", value
        case ast.Call(func=ast.Attribute(value=value, attr="sum" | "mean"), keywords=keywords) if keywords:
            yield "axis", replaced(node, keywords=[])
            for other in other_axes(next(keyword.value for keyword in keywords if keyword.arg == "axis")):
                changed = [ast.keyword("axis", other) if keyword.arg == "axis" else keyword for keyword in keywords]
                yield "axis", replaced(node, keywords=changed)
        case ast.Call(func=ast.Name(id="relu"), args=[argument]):
            yield "operand", argument
        case ast.Constant(value=int(number)) if not isinstance(number, bool):
            yield "factor", ast.Constant(number + 1)
    if isinstance(node, ast.BinOp | ast.Attribute):
        yield from wrong_operands(node, names)


def wrong_operands(node: ast.BinOp | ast.Attribute, names: list[str]) -> Iterator[tuple[str, ast.AST]]:
    """Yield the node with one of its names replaced by another argument of the function.

    Not where it is only asked for its precision, which is that of all, or x for its axes, which are grad_output's.
    """
    asked = node.attr if isinstance(node, ast.Attribute) else ""
    if asked == "dtype":
        return
    for field in ("left", "right", "value"):
        operand = getattr(node, field, None)
        if isinstance(operand, ast.Name) and operand.id in names:
            for name in names:
                same = asked == "ndim" and {name, operand.id} == {"x", "grad_output"}
                if name != operand.id and not same:
                    yield "operand", replaced(node, **{field: ast.Name(name)})


def other_axes(axis: ast.expr) -> Iterator[ast.expr]:
    """Yield axes that could be meant instead: the other one of two, the first one, or one fewer of several."""
    match axis:
        case ast.Constant(value=0 | 1 as number):
            yield ast.Constant(1 - number)
        case ast.Tuple(elts=axes):
            yield ast.Tuple(axes[1:], ast.Load())
            yield ast.Tuple(axes[:-1], ast.Load())
        case _:
            yield ast.Constant(0)


def is_array(value: ast.expr) -> bool:
    """Tell whether an assigned value is computed, so that it can be negated."""
    computed_by_call = (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr == "sum"
    )
    return computed_by_call or (isinstance(value, ast.BinOp) and not isinstance(value.op, ast.BitOr))


if __name__ == "__main__":
    sys.exit(main())
