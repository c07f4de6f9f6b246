import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.optimizer import matched_sgd  # noqa: E402 (needs torch)


def written_out(parameters, gradients_of_each_step, learning_rates, momentum, initial_velocity):
    velocity = [np.full(value.shape, initial_velocity) for value in parameters]
    for gradients, learning_rate in zip(gradients_of_each_step, learning_rates, strict=True):
        velocity = [momentum * v + learning_rate * g for v, g in zip(velocity, gradients, strict=True)]
        parameters = [w - v for w, v in zip(parameters, velocity, strict=True)]
    return parameters


LEARNING_RATES = {
    "constant": lambda alpha: [alpha] * 40,
    "cut half-way": lambda alpha: [alpha] * 20 + [alpha / 10] * 20,
    "zero at times": lambda alpha: [0.0] * 5 + [alpha] * 10 + [0.0] * 5 + [alpha * 3] * 20,
    "from tiny to large": lambda alpha: list(alpha * np.geomspace(1e-9, 1e3, 40)),
}


@pytest.mark.parametrize("schedule", LEARNING_RATES)
@pytest.mark.parametrize(
    ("momentum", "learning_rate", "initial_velocity"),
    [(0.9, 0.1, 1e-5), (0.0, 0.5, 1e-5), (0.99, 1e-3, 0.0), (0.5, 2.0, -1.0)],
)
def test_forty_steps_equal_the_formula_written_out(rng, schedule, momentum, learning_rate, initial_velocity):
    module = torch.nn.Linear(4, 3, dtype=torch.float64)
    optimizer = matched_sgd(module, learning_rate, momentum, initial_velocity)
    learning_rates = LEARNING_RATES[schedule](learning_rate)
    gradients = [[rng.normal(size=value.shape) for value in module.parameters()] for _ in range(40)]
    start = [value.detach().numpy().copy() for value in module.parameters()]
    for step, rate in zip(gradients, learning_rates, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        for parameter, gradient in zip(module.parameters(), step, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        assert optimizer.param_groups[0]["lr"] == rate
        assert optimizer.param_groups[0]["dampening"] == 0
    expected = written_out(start, gradients, learning_rates, momentum, initial_velocity)
    for parameter, value in zip(module.parameters(), expected, strict=True):
        # a few roundings a step, of numbers no larger than the largest that the sum has seen
        scale = max(abs(value).max(), max(learning_rates))
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=0, atol=1e-12 * scale)


def test_a_pytorch_scheduler_sets_the_learning_rate(rng):
    module = torch.nn.Linear(4, 3, dtype=torch.float64)
    start = [value.detach().numpy().copy() for value in module.parameters()]
    optimizer = matched_sgd(module)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=20)  # reaches 0 and comes back
    gradients = [[rng.normal(size=value.shape) for value in module.parameters()] for _ in range(40)]
    learning_rates = []
    for step in gradients:
        learning_rates.append(optimizer.param_groups[0]["lr"])
        for parameter, gradient in zip(module.parameters(), step, strict=True):
            parameter.grad = torch.from_numpy(gradient)
        optimizer.step()
        scheduler.step()
    assert min(learning_rates) == 0
    expected = written_out(start, gradients, learning_rates, 0.9, 1e-5)
    for parameter, value in zip(module.parameters(), expected, strict=True):
        np.testing.assert_allclose(parameter.detach().numpy(), value, rtol=0, atol=1e-12)  # as above


def test_is_a_plain_sgd_whose_state_holds_the_velocity():
    module = torch.nn.Linear(4, 3, dtype=torch.float64)
    optimizer = matched_sgd(module, learning_rate=0.5, initial_velocity=3.0)
    assert type(optimizer) is torch.optim.SGD
    for parameter in module.parameters():
        buffer = optimizer.state[parameter]["momentum_buffer"]
        assert (buffer * optimizer.param_groups[0]["velocity_unit"] == 3).all()
