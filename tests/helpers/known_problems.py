"""Networks and examples whose scores and gradients are known well enough to judge a fast way to them."""

import numpy as np

from manual_backprop import MLP, relu, softmax
from manual_backprop.data.datasets import Split
from manual_backprop.fast import workers


def exact_problem(rng, sizes, count, dtype):
    """Weights and images in steps of a quarter, so that pre-activations and logits are exact in any order of summation.

    Then no unit is on the other side of its kink by rounding, and ties between classes are ties in every form. With
    images and weights of at most 1, widths of at most 10 and four layers, all numbers are below 11,112 in steps of
    1/1024: 24 binary digits.
    """
    mlp = MLP.xavier(sizes, dtype=dtype)
    for value in mlp.parameters.values():
        value[...] = rng.integers(-4, 5, value.shape) / 4
    images = (rng.integers(0, 5, (count, sizes[0])) / 4).astype(dtype)
    return mlp, Split(images, rng.integers(0, sizes[-1], count))


def pixel_problem(rng, sizes, count, dtype=np.float32):
    images = rng.integers(0, 256, (count, sizes[0]), np.uint8)
    return MLP.xavier(sizes, seed=1, dtype=dtype), Split(images, rng.integers(0, sizes[-1], count))


def roundings(mlp, examples):
    """Bound how many roundings a result can meet on its way: examples, units, and 30 for softmax with its exp."""
    return (len(examples) + sum(mlp.sizes) + 30) * np.finfo(mlp.dtype).eps


def gradient_bounds(mlp, examples):
    """Bound for every entry of the gradient how far two correct results may differ.

    An entry is a sum of products along paths through the network, and each rounding moves it by at most eps times the
    same sum over magnitudes.
    """
    inputs, outputs = [examples.images], []
    for i in range(mlp.depth):
        outputs.append(inputs[i] @ mlp.parameters[f"layers.{i}.weight"] + mlp.parameters[f"layers.{i}.bias"])
        inputs.append(relu(outputs[i]))
    magnitude = softmax(outputs[-1])
    magnitude[np.arange(len(examples)), examples.labels] += 1
    magnitude /= len(examples)
    bounds = {}
    for i in reversed(range(mlp.depth)):
        bounds[f"layers.{i}.weight"] = roundings(mlp, examples) * (inputs[i].T @ magnitude)
        bounds[f"layers.{i}.bias"] = roundings(mlp, examples) * magnitude.sum(axis=0)
        magnitude = magnitude @ np.abs(mlp.parameters[f"layers.{i}.weight"].T) * (inputs[i] > 0)
    return bounds


class FailingImages:
    """Images that fail to be read from some row on."""

    ndim, dtype = 2, np.dtype(np.uint8)

    def __init__(self, images, good, error):
        self.images, self.good, self.error = images, good, error
        self.shape = images.shape

    def __len__(self):
        return len(self.images)

    def __getitem__(self, rows):
        if rows.start >= self.good:
            raise self.error
        return self.images[rows]


def blas_threads():
    """Threads of the libraries that multiply NumPy's matrices; SciPy, which other tests load, brings one of its own."""
    return [library["num_threads"] for library in workers._blas.info()]
