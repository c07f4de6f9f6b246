"""References cast to float32 and back in between; what they mean is one formula, evaluated in one precision."""

from typing import Any

from torch_reference.checker.formats import FLOAT32, FORMATS, Format
from torch_reference.checker.reference.modes import Mode

FLOATING = {each.tensor for each in FORMATS.values()}
RANDOM = {"rand", "randn", "rand_like", "randn_like"}  # other types draw other numbers from the same seed


class Cast(Mode):
    """Let every cast to a floating type be one to a given type.

    Parameters
    ----------
    to : Format
        The type.
    """

    def __init__(self, to: Format) -> None:
        super().__init__()
        self.to = to

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation."""
        if name in RANDOM:
            return operator(*args, **{**kwargs, "dtype": kwargs.get("dtype") or FLOAT32.tensor})
        if kwargs.get("dtype") in FLOATING:
            kwargs = {**kwargs, "dtype": self.to.tensor}
        return operator(*args, **kwargs)
