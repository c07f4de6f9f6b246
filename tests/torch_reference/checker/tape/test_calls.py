"""Functions written out compute what PyTorch's do, called in the same way, or leave the call alone."""

import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402, N812 (needs torch)

from torch_reference.checker.tape.calls import CALLS  # noqa: E402


def drawn(*shape, seed=0):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


QUERY, KEY, VALUE = drawn(2, 3, 4), drawn(2, 5, 4, seed=1), drawn(2, 5, 6, seed=2)
MASK = torch.tensor([True, False, True, True, False]).expand(3, 5)
LOGITS, TARGETS = drawn(3, 4), drawn(3, 4, seed=1).sigmoid()
LABELS = torch.tensor([2, 0, 3])


def matches(function, *args, **keywords):
    torch.testing.assert_close(CALLS[function](*args, **keywords), function(*args, **keywords), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    "options",
    [{}, {"is_causal": True}, {"scale": 0.75}, {"attn_mask": MASK}, {"attn_mask": drawn(3, 5, seed=3)}],
)
def test_attention(options):
    matches(F.scaled_dot_product_attention, QUERY, KEY, VALUE, **options)


@pytest.mark.parametrize("options", [{"dropout_p": 0.5}, {"enable_gqa": True}])
def test_attention_of_another_kind_is_left_whole(options):
    assert CALLS[F.scaled_dot_product_attention](QUERY, KEY, VALUE, **options) is NotImplemented


@pytest.mark.parametrize("reduction", [{}, {"reduction": "mean"}, {"reduction": "sum"}, {"reduction": "none"}])
def test_losses(reduction):
    matches(F.binary_cross_entropy_with_logits, LOGITS, TARGETS, **reduction)
    matches(F.binary_cross_entropy, LOGITS.sigmoid(), TARGETS, **reduction)
    for smoothing in (0.1, 1.0):
        matches(F.cross_entropy, LOGITS, LABELS, label_smoothing=smoothing, **reduction)


@pytest.mark.parametrize("option", ["weight", "size_average", "reduce", "pos_weight"])
def test_losses_of_another_kind_are_left_whole(option):
    for function in (F.binary_cross_entropy_with_logits, F.binary_cross_entropy, F.cross_entropy):
        if option != "pos_weight" or function is F.binary_cross_entropy_with_logits:
            more = {"label_smoothing": 0.1} if function is F.cross_entropy else {}
            targets = LABELS if function is F.cross_entropy else TARGETS
            assert CALLS[function](LOGITS, targets, **{option: torch.ones(4)}, **more) is NotImplemented


@pytest.mark.parametrize(
    ("logits", "targets", "options"),
    [
        (LOGITS, LABELS, {"label_smoothing": 0.0}),
        (LOGITS, LABELS, {}),
        (LOGITS, TARGETS, {"label_smoothing": 0.1}),
        (LOGITS[0], LABELS[0], {"label_smoothing": 0.1}),
        (LOGITS[None], LABELS[None], {"label_smoothing": 0.1}),
        (LOGITS, torch.tensor([2, -100, 3]), {"label_smoothing": 0.1}),
        (LOGITS, LABELS, {"label_smoothing": 0.1, "ignore_index": 3}),
    ],
)
def test_a_cross_entropy_that_shares_nothing_or_leaves_rows_out_is_left_whole(logits, targets, options):
    assert CALLS[F.cross_entropy](logits, targets, **options) is NotImplemented
