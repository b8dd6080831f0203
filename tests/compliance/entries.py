"""Entries of the registries of networks and bijectors, and parametrization of tests over them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests import helpers


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One network or bijector to test.

    Attributes:
      name: unique in its registry.
      make: `make(dtype)` gives a new object, all its variables of `dtype`, a policy such as
        "float32". Two calls share no variable. The tests randomise all variables.
      event_shape: of one x; of at most 8 variables, since an XLA compile takes a second.
      conditional_shape: that of the `conditional_input` still to be passed, None if none is.
      sees_all: False for a network that by design does not see all variables before one.
      slow: whether it is left to `make test-all`: a variant, or one that is there for the tests.
    """

    name: str
    make: Callable[[str], Any]
    event_shape: tuple[int, ...]
    conditional_shape: Any = None
    sees_all: bool = True
    slow: bool = False

    @property
    def event_size(self) -> int:
        """The number of variables in one x; many tests use batches of as many rows."""
        return int(np.prod(self.event_shape))

    @property
    def conditional(self) -> bool:
        """Whether the methods need a `conditional_input`."""
        return self.conditional_shape is not None

    def conditioning(self, batch, dtype="float64", seed=0) -> dict:
        """The keyword arguments of a call with leading shape `batch`."""
        if not self.conditional:
            return {}
        return {
            "conditional_input": helpers.conditioning(self.conditional_shape, batch, dtype, seed)
        }

    def __str__(self):
        return self.name


def parametrized(entries, name="entry"):
    """The arguments of a `pytest.mark.parametrize` over entries."""
    marks = {True: [pytest.mark.slow], False: []}
    params = [pytest.param(entry, id=entry.name, marks=marks[entry.slow]) for entry in entries]
    return {"argnames": name, "argvalues": params}
