import pytest

torch = pytest.importorskip("torch")
from torch_reference.memory import memory_errors  # noqa: E402 (needs torch)


def test_a_tensor_that_does_not_fit_is_a_memory_error():
    with pytest.raises(MemoryError), memory_errors():
        torch.empty(2**60, dtype=torch.uint8)


def test_a_gpu_without_memory_is_a_memory_error():
    with pytest.raises(MemoryError, match="CUDA"), memory_errors():
        raise torch.OutOfMemoryError("CUDA out of memory")


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shape"), memory_errors():
        torch.ones(2, 3) @ torch.ones(2, 3)
