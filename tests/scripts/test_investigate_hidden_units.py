"""The table of the investigation: two rows a size, the second at the least validation loss."""

import numpy as np
from benchmarks.investigate_hidden_units import main


def test_prints_two_rows_a_size(tmp_path, capsys):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 3, 3)).astype(np.uint8), np.arange(60) % 10
    np.savez(tmp_path / "noise.npz", images=images, labels=labels)
    arguments = f"--data {tmp_path / 'noise.npz'} --split 30 20 10 --hidden 3 8 --epochs 60".split()
    assert main(arguments) == 0
    head, *rows = (line.split() for line in capsys.readouterr().out.splitlines())
    assert [row[0] for row in rows] == ["3", "3", "8", "8"]
    assert head[:2] == ["hidden", "epoch"]
    for last, best in (rows[:2], rows[2:]):
        assert last[1] == "60"
        assert 1 <= int(best[1]) < 60  # labels of noise cannot be learned: validation gets worse
        assert float(best[6]) < float(last[6])


def test_a_missing_source_is_one_line(capsys):
    assert main(["--data", "/nowhere.npz"]) == 2
    assert capsys.readouterr().err.startswith("error: ")
