"""The result for one gradient."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient: the one that exceeds its allowance most.

    Attributes
    ----------
    index : tuple of int
        Where it is.
    manual, reference : float
        Both values.
    allowed : float
        The difference that rounding explains.
    """

    index: tuple[int, ...]
    manual: float
    reference: float
    allowed: float


@dataclass(frozen=True, eq=False)
class GradientReport:
    """The verdict on one gradient.

    Attributes
    ----------
    name : str
        The input that the loss is differentiated by.
    code : str
        One of the codes that docs/crosscheck.md lists.
    message : str
        The cause in words.
    manual : array
        The gradient under test as it was returned.
    reference : float64 array
        Autograd's.
    wrong : int
        How many entries differ by more than rounding.
    worst : Entry or None
        The worst entry, where the shapes agree.
    error : float
        Largest difference in units of what rounding allows.
    marked : array of bool or None
        Which entries differ by more than rounding, where the shapes agree.
    strict : bool
        Whether `rounded` is not good enough.
    """

    name: str
    code: str
    message: str
    manual: NDArray[Any]
    reference: NDArray[np.float64]
    wrong: int = 0
    worst: Entry | None = None
    error: float = 0.0
    marked: NDArray[np.bool_] | None = None
    strict: bool = False

    @property
    def ok(self) -> bool:
        """Whether the gradient is right."""
        return self.code in {"match", "kink"} or (self.code == "rounded" and not self.strict)

    @property
    def vacuous(self) -> bool:
        """Whether autograd's gradient is zero everywhere: then the check proves nothing."""
        return self.reference.size > 0 and not self.reference.any()

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data, without the arrays."""
        worst = None
        if self.worst:
            worst = {
                "index": list(self.worst.index),
                "manual": plain(self.worst.manual),
                "reference": plain(self.worst.reference),
                "allowed": plain(self.worst.allowed),
            }
        return {
            "ok": self.ok,
            "vacuous": self.vacuous,
            "code": self.code,
            "message": self.message,
            "shape": list(self.manual.shape),
            "dtype": str(self.manual.dtype),
            "entries": int(self.reference.size),
            "wrong": self.wrong,
            "error": plain(self.error),
            "worst": worst,
        }


def plain(value: float) -> float | str:
    """Return a number as JSON can write it; one that is not finite becomes a string."""
    return float(value) if math.isfinite(value) else str(float(value))
