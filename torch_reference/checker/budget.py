"""What a gradient is held to: how much of its difference from autograd is rounding."""

from torch_reference.checker.allowance import Allowance
from torch_reference.checker.formats import Array, Format, coarser_than


class Budget:
    """Every operation rounds as the coarsest input does. The NumPy face's, and that of float32 and float64 tensors."""

    def allowed(self, allowance: Allowance, name: str) -> Array:
        """Return the difference that is allowed to each entry of a gradient."""
        return allowance.allowed(name)

    def lower(self, allowance: Allowance, name: str) -> list[tuple[Format, Array]]:
        """Return what rounding would explain in each lower precision, the most precise first."""
        return [(each, allowance.allowed(name, each.epsilon)) for each in coarser_than(allowance.epsilon)]
