"""The GPU's benchmark, as far as a CPU can run it."""

import pytest
from training_runs import script_module

torch = pytest.importorskip("torch")
benchmark = script_module("benchmarks.cuda_training")


@pytest.mark.parametrize("batch_size", [None, 7])
def test_all_contestants_take_their_turns(batch_size, capsys):
    job = benchmark.Job(30, 10, 8, batch_size)
    row = benchmark.measured(job, "cpu", rounds=2, seconds=0.01)
    assert set(row["epochs_per_second"]) == {benchmark.BOUND, benchmark.EAGER, benchmark.OURS}
    assert all(speed > 0 for speed in row["epochs_per_second"].values())
    assert row["times_the_bound"][benchmark.BOUND] == 1
    assert row["missing"] == {}
    benchmark.print_job(row)
    assert "this project" in capsys.readouterr().out


def test_the_smallest_memory_counts_data_network_and_activations():
    # by hand: 40 images of 784 floats and a label of 8 bytes; twice the 784 · 8 + 8 + 8 · 10 + 10 parameters; the
    # outputs of 18 units for 30 rows
    expected = 40 * (784 * 4 + 8) + 2 * 4 * 6370 + 4 * 30 * 18
    assert benchmark.Job(30, 10, 8).smallest_memory() * benchmark.MIB == expected


def test_the_error_of_float32_is_a_few_roundings():
    # sums of at most 1000 terms, each rounded at 6e-8; typically they grow as the root of their number
    assert 0 < benchmark.gradient_error("cpu") < 1000 * 6e-8


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a CUDA device")
def test_without_a_gpu_it_ends_in_one_line(capsys):
    assert benchmark.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: PyTorch finds no CUDA device")
    assert captured.err.count("\n") == 1
