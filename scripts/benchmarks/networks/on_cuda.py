"""Who takes turns in `cuda_training`: this project's loop, a plain eager one, and the bare matrix products."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.nn.functional import cross_entropy

from manual_backprop.training import epoch_batches
from torch_reference.networks.mlp import ReferenceMLP
from torch_reference.optimizer import matched_sgd
from torch_reference.training import BLOCK_OUTPUTS, Batches, Examples, train_epochs

FEATURES, CLASSES = 784, 10
MIB = 2**20

Train = Callable[[], int]
"""Trains for a while, waits for the device and returns how many epochs that were."""


@dataclass(frozen=True)
class Job:
    """How much to train on; random images and labels, since times do not depend on them."""

    train_count: int
    valid_count: int
    hidden: int
    batch_size: int | None = None

    def __str__(self) -> str:
        batch = "full batch" if self.batch_size is None else f"batch {self.batch_size}"
        return f"{self.train_count:,} x {FEATURES}-{self.hidden}-{CLASSES}, {self.valid_count:,} to validate, {batch}"

    def batches(self, epoch: int) -> Batches:
        """Return the batches of an epoch."""
        return epoch_batches(self.train_count, self.batch_size, 0, epoch)

    def examples(self, device: str) -> tuple[Examples, Examples]:
        """Return training and validation set."""
        torch.manual_seed(0)
        train, valid = (
            (torch.rand(count, FEATURES, device=device), torch.randint(CLASSES, (count,), device=device))
            for count in (self.train_count, self.valid_count)
        )
        return train, valid

    def smallest_memory(self) -> float:
        """Return the MiB of data, parameters, velocity and one set of activations."""
        data = (self.train_count + self.valid_count) * (4 * FEATURES + 8)
        parameters = 4 * (FEATURES * self.hidden + self.hidden + self.hidden * CLASSES + CLASSES)
        activations = 4 * (self.batch_size or self.train_count) * (self.hidden + CLASSES)
        return (data + 2 * parameters + activations) / MIB


def ours(job: Job, device: str) -> Train:
    """Train as `train_torch.py` does."""
    train, valid = job.examples(device)
    module = ReferenceMLP([FEATURES, job.hidden, CLASSES]).to(device)
    epochs = train_epochs(module, matched_sgd(module, 1e-3), train, valid, range(10**9), job.batches)
    return lambda: len(next(epochs))


def eager(job: Job, device: str) -> Train:
    """Train with the loop that most people write, and ask for the figures after every epoch."""
    train, valid = job.examples(device)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, job.hidden), torch.nn.ReLU(), torch.nn.Linear(job.hidden, CLASSES)
    ).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    numbers = iter(range(10**9))

    def epoch() -> int:
        loss_sum = correct = torch.zeros((), device=device)
        for rows in job.batches(next(numbers)):
            images, labels = (
                train if isinstance(rows, slice) else (values[torch.from_numpy(rows).to(device)] for values in train)
            )
            optimizer.zero_grad()
            logits = network(images)
            loss = cross_entropy(logits, labels)
            loss.backward()
            loss_sum = loss_sum + loss.detach() * len(labels)
            correct = correct + (logits.detach().argmax(dim=1) == labels).sum()
            optimizer.step()
        with torch.no_grad():
            logits = network(valid[0])
            cross_entropy(logits, valid[1]).item(), (logits.argmax(dim=1) == valid[1]).sum().item()
        loss_sum.item(), correct.item()
        return 1

    return epoch


def products(job: Job, device: str) -> Train:
    """Multiply the matrices of an epoch and do nothing else, on a GPU as a graph; in the faster of two cuts."""
    (x, _), (valid_x, _) = job.examples(device)
    weight = torch.rand(FEATURES, job.hidden, device=device)
    weight_out = torch.rand(job.hidden, CLASSES, device=device)
    updates = 1 if job.batch_size is None else -(-job.train_count // job.batch_size)
    batch = job.batch_size or job.train_count
    block = min(batch, max(1, BLOCK_OUTPUTS[torch.device(device).type] // (job.hidden + CLASSES)))

    def multiply(cut: int) -> Callable[[], None]:
        hidden, grad_hidden = (torch.zeros(cut, job.hidden, device=device) for _ in range(2))
        logits = torch.zeros(cut, CLASSES, device=device)
        grad_weight, grad_weight_out = torch.zeros_like(weight), torch.zeros_like(weight_out)

        def part(rows: torch.Tensor, training: bool) -> None:
            h, g, z = hidden[: len(rows)], grad_hidden[: len(rows)], logits[: len(rows)]
            torch.mm(rows, weight, out=h)
            torch.mm(h, weight_out, out=z)
            if training:
                torch.mm(h.T, z, out=grad_weight_out)
                torch.mm(z, weight_out.T, out=g)
                torch.mm(rows.T, g, out=grad_weight)

        def epoch() -> None:
            for rows in x.split(cut):
                part(rows, training=True)
            for rows in valid_x.split(cut):
                part(rows, training=False)

        return epoch if updates > 1000 else captured(epoch, device)  # so many keep the GPU busy without a graph

    def timed(epoch: Callable[[], None]) -> float:
        for _ in range(3):
            epoch()
        synchronize(device)
        start = time.perf_counter()
        for _ in range(5):
            epoch()
        synchronize(device)
        return time.perf_counter() - start

    best = min((multiply(cut) for cut in sorted({block, min(batch, 64 * block)})), key=timed)

    def several() -> int:
        for _ in range(10):
            best()
        synchronize(device)
        return 10

    return several


def captured(work: Callable[[], None], device: str) -> Callable[[], None]:
    """Return what repeats the work as a CUDA graph; on a CPU, the work itself."""
    if device != "cuda":
        return work
    work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()
