from pathlib import Path

import pytest

from manual_backprop.runs.options import make_parser

HUGE = "9" * 400


def test_the_defaults_are_the_assignments_values():
    options = vars(make_parser("numpy", "").parse_args([]))
    assert options == {
        "side": "numpy",
        "data": "glyphs",
        "split": None,
        "network": "mlp",
        "hidden": [1000],
        "dropout": 0.0,
        "epochs": 200,
        "optimizer": "momentum",
        "learning_rate": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "batch_size": None,
        "dtype": "float32",
        "seed": 0,
        "out": Path("runs/numpy"),
        "resume": False,
        "quiet": False,
    }


def test_options_are_read():
    text = (
        "--data some.npz --split 7 0 2 --hidden 30 20 --epochs 1000000000 --learning-rate 1e-3 --momentum 0 "
        "--batch-size 5 --dtype float64 --seed 3 --out there --resume --quiet"
    )
    options = make_parser("torch", "").parse_args(text.split())
    assert (options.split, options.hidden, options.epochs) == ([7, 0, 2], [30, 20], 10**9)
    assert (options.learning_rate, options.momentum, options.batch_size) == (1e-3, 0.0, 5)
    assert (options.dtype, options.seed, options.out) == ("float64", 3, Path("there"))
    assert options.resume
    assert options.quiet


CNN = {"hidden": [784], "optimizer": "adam", "learning_rate": 1e-4, "batch_size": 32, "epochs": 50}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--network cnn", CNN | {"dropout": 0.0, "weight_decay": 0.0}),
        ("--network cnn --hidden 9 --epochs 2 --batch-size 5", CNN | {"hidden": [9], "epochs": 2, "batch_size": 5}),
        ("--network cnn --optimizer momentum", CNN | {"optimizer": "momentum"}),
        ("--network cnn --optimizer adamw --learning-rate 0.1", CNN | {"optimizer": "adamw", "learning_rate": 0.1}),
        ("--optimizer adam", {"learning_rate": 1e-3, "weight_decay": 0.0, "hidden": [1000], "epochs": 200}),
        ("--optimizer adamw --network mlp", {"learning_rate": 1e-3, "weight_decay": 0.01, "batch_size": None}),
        ("--optimizer adam --weight-decay 0.1", {"weight_decay": 0.1}),
        ("--optimizer momentum --dropout 0.5", {"learning_rate": 0.1, "weight_decay": 0.0, "dropout": 0.5}),
    ],
)
def test_defaults_follow_the_network_and_the_optimizer(text, expected):
    options = vars(make_parser("numpy", "").parse_args(text.split()))
    assert options == options | expected


def test_any_whole_number_is_a_seed():
    assert make_parser("numpy", "").parse_args(["--seed", str(2**200)]).seed == 2**200


COUNTS = ["-1", "0.5", "nan", "inf", "1e3", "five", "", HUGE, str(2**31)]
WRONG = [
    *[("--hidden", value) for value in ["0", *COUNTS]],
    ("--hidden",),
    ("--hidden", "30", "0"),
    *[("--epochs", value) for value in ["0", *COUNTS]],
    *[("--batch-size", value) for value in ["0", *COUNTS]],
    *[("--split", value, "1", "1") for value in COUNTS],
    ("--split", "1", "1"),
    *[("--learning-rate", value) for value in ("0", "-0.1", "nan", "inf", "-inf", "1e31", "1e-31", "fast", "", HUGE)],
    *[("--momentum", value) for value in ("-0.1", "1", "1.5", "nan", "inf", "much", "", HUGE)],
    *[("--dropout", value) for value in ("-0.1", "1", "nan", "half", "")],
    *[("--weight-decay", value) for value in ("-0.1", "nan", "inf", "some", "")],
    ("--weight-decay", "0.1"),  # momentum has none
    ("--network", "rnn"),
    ("--optimizer", "sgd"),
    ("--hidden", "5", "6", "--network", "cnn"),
    *[("--seed", value) for value in ("-1", "0.5", "nan", "inf", "luck", "")],
    ("--dtype", "float16"),
    ("--dtype", "float32\nfloat64"),
    ("--out", ""),
    ("--out",),
    ("--unknown\noption",),
    ("stray",),
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda arguments: " ".join(arguments)[:30])
def test_wrong_options_end_in_one_line_that_names_them(arguments, capsys):
    with pytest.raises(SystemExit) as end:
        make_parser("numpy", "").parse_args(list(arguments))
    output, errors = capsys.readouterr()
    assert (end.value.code, output) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert arguments[0].split()[0] in errors


def test_help_names_every_default(capsys):
    with pytest.raises(SystemExit) as end:
        make_parser("numpy", "Train.").parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert end.value.code == 0
    for default in ("1000", "200", "0.1", "0.9", "float32", "runs/numpy", "glyphs"):
        assert f"(default: {default})" in text or f"(default: [{default}])" in text
