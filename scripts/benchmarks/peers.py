"""The libraries that the benchmark compares with, each given the same work and its own fastest settings.

Each function raises `ImportError` where its library is missing.
"""

from typing import Any

import numpy as np
from benchmarks.contestants import CLASSES, FEATURES, HIDDEN, LEARNING_RATE, MOMENTUM, Epoch, Problem


def scikit_learn(problem: Problem, accuracies: bool = True) -> Epoch:
    """Train `MLPClassifier`; its own loop knows the training loss, the rest takes another pass forward."""
    from sklearn.neural_network import MLPClassifier

    x, labels, valid_x, valid_labels = problem.floats()
    model = MLPClassifier(
        (HIDDEN,),
        solver="sgd",
        alpha=0,
        batch_size=problem.batch_size or problem.train_count,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        nesterovs_momentum=False,
        shuffle=problem.batch_size is not None,
        random_state=0,
    )

    def epoch() -> None:
        if accuracies and hasattr(model, "coefs_"):
            (model.predict_proba(x).argmax(axis=1) == labels).mean()
            probabilities = model.predict_proba(valid_x)
            (probabilities.argmax(axis=1) == valid_labels).mean()
            -np.log(probabilities[np.arange(len(valid_x)), valid_labels]).mean()
        model.partial_fit(x, labels, classes=np.arange(CLASSES))

    return epoch


def pytorch(problem: Problem, compiled: bool = False) -> Epoch:
    """Train an `nn.Sequential` with `torch.optim.SGD` on the CPU."""
    import torch
    from torch.nn.functional import cross_entropy

    x, labels, valid_x, valid_labels = (torch.from_numpy(part) for part in problem.floats())
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    ).to(x.dtype)
    optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, MOMENTUM, fused=True)
    rng = np.random.default_rng(0)

    def metrics(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = network(inputs)
        return cross_entropy(logits, targets), (logits.argmax(dim=1) == targets).sum()

    if compiled:
        metrics = torch.compile(metrics)

    def epoch() -> None:
        batches = problem.batches(rng)
        for number, rows in enumerate(batches, start=1):
            optimizer.zero_grad()
            loss, correct = metrics(x[rows], labels[rows])
            loss.backward()
            loss.item(), correct.item()
            if number == len(batches):
                with torch.no_grad():
                    [value.item() for value in metrics(valid_x, valid_labels)]
            optimizer.step()

    return epoch


def jax(problem: Problem) -> Epoch:
    """Train with `jax.jit` on the CPU: the whole update is one compiled function, its arrays changed in place."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", problem.dtype == "float64")
    x, labels, valid_x, valid_labels = (jnp.asarray(part) for part in problem.floats())
    rng = np.random.default_rng(0)
    parameters = [
        jnp.asarray(rng.normal(0, np.sqrt(2 / sum(shape)), shape).astype(problem.dtype))
        for shape in ((FEATURES, HIDDEN), (1, HIDDEN), (HIDDEN, CLASSES), (1, CLASSES))
    ]
    state = (parameters, [jnp.zeros_like(value) for value in parameters])

    def metrics(parameters: Any, inputs: Any, targets: Any) -> Any:
        w_h, b_h, w_o, b_o = parameters
        logits = jax.nn.relu(inputs @ w_h + b_h) @ w_o + b_o
        log_probabilities = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_probabilities, targets[:, None], axis=1).mean()
        return loss, (logits.argmax(axis=1) == targets).sum()

    def update(state: Any, inputs: Any, targets: Any) -> Any:
        parameters, velocities = state
        scores, gradients = jax.value_and_grad(metrics, has_aux=True)(parameters, inputs, targets)
        velocities = [MOMENTUM * v + LEARNING_RATE * g for v, g in zip(velocities, gradients, strict=True)]
        return ([w - v for w, v in zip(parameters, velocities, strict=True)], velocities), scores

    step, evaluate = jax.jit(update, donate_argnums=0), jax.jit(metrics)

    def epoch() -> None:
        nonlocal state
        batches = problem.batches(rng)
        for number, rows in enumerate(batches, start=1):
            if number == len(batches):
                jax.block_until_ready(evaluate(state[0], valid_x, valid_labels))
            whole = isinstance(rows, slice)
            state, scores = step(state, x if whole else x[rows], labels if whole else labels[rows])
            jax.block_until_ready(scores)
        jax.block_until_ready(state)

    return epoch
