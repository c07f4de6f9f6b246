"""The index of the derivations names every layer, with its page and file."""

import pytest

pytest.importorskip("torch")

from index_derivations import ROOT, derived
from layer_table import CASES


def test_the_index_is_of_the_pages_as_they_are():
    rows = dict.fromkeys(layer for _, layer in derived())
    assert rows.keys() == CASES.keys()
    page = (ROOT / "docs" / "derivations" / "README.md").read_text(encoding="utf-8")
    listed = [line.split("`")[1] for line in page.splitlines() if line.startswith("| `")]
    assert listed == list(rows)
