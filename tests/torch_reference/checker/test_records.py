"""The check's records never change, and are compared by value only where each of their fields can be."""

import dataclasses
import importlib
import pkgutil
import types
from collections.abc import Callable, Mapping
from typing import Any, Union, get_args, get_origin

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import checker  # noqa: E402 (needs torch)


def records():
    for module in pkgutil.walk_packages(checker.__path__, f"{checker.__name__}."):
        for each in vars(importlib.import_module(module.name)).values():
            if isinstance(each, type) and dataclasses.is_dataclass(each) and each.__module__ == module.name:
                yield each


def has_one_value(hint):
    """Say whether two values of a type are equal or not: arrays are so entry by entry."""
    kind = get_origin(hint) or hint
    if kind in (Union, types.UnionType, tuple, frozenset):
        return all(has_one_value(part) for part in get_args(hint) if part is not ...)
    return kind in (None, Callable) or (kind not in (Any, np.ndarray, torch.Tensor, dict, list, Mapping))


@pytest.mark.parametrize("record", [*records()], ids=lambda record: record.__name__)
def test_a_record_is_frozen_and_equal_to_another_only_where_that_means_something(record):
    parameters = record.__dataclass_params__
    assert parameters.frozen
    assert parameters.eq == all(has_one_value(field.type) for field in dataclasses.fields(record))
