"""The product's backward functions with a line replaced: what mistakes look like where people make them."""

import ast
import functools
import inspect
import sys
import types

from manual_backprop import layers


@functools.cache
def planted(function, *changes, within=None):
    """Return a function of `layers` from a copy of its module in which parts of lines are replaced.

    Parameters
    ----------
    function : the name of what is returned
    changes : pairs of the text that is right, which occurs once, and of what stands there instead
    within : the name of the function that is changed; the whole module if it is not given
    """
    module = sys.modules[getattr(layers, function).__module__]
    source = inspect.getsource(module)
    nodes = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name == within]
    part = changed = ast.get_source_segment(source, *nodes) if within else source
    for right, wrong in changes:
        assert part.count(right) == 1, f"{within or module.__name__}: {right!r} is not there, or not once"
        changed = changed.replace(right, wrong)
    copy = types.ModuleType(module.__name__)
    exec(compile(source.replace(part, changed), module.__file__, "exec"), copy.__dict__)
    return getattr(copy, function)
