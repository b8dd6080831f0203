"""The shapes of a network's conditioning, and the one parser of `conditional_input`."""

from collections.abc import Callable, Sequence
from typing import Any

from tfp_ar.internal import checks, shapes

GLOBAL, LOCAL = "global", "local"


class ConditioningSpec:
    """The shapes of a network's `conditional_input`.

    Inside the package conditioning is a dict by kind, `GLOBAL` or `LOCAL`, as `parse` gives it;
    `join` puts it back into the form that users pass and that a network's `call` takes.

    Args:
      conditional_shape: None; [k] (one vector per event, "global"); [L, k] or [H, W, k] (one vector
        per position, "local"); or a dict with keys 'global' and 'local' for both.
      event_shape: the network's event shape; local shapes begin with its positions.

    Attributes:
      shapes: the shape of each condition, by kind.
      is_dict: True if users pass a dict.

    Raises:
      TypeError, ValueError: if `conditional_shape` has no such form.
    """

    def __init__(self, conditional_shape: Any, event_shape: Sequence[int]):
        self.is_dict = isinstance(conditional_shape, dict)
        if conditional_shape is None:
            by_kind = {}
        elif self.is_dict:
            by_kind = dict(conditional_shape)
            if not by_kind or set(by_kind) - {GLOBAL, LOCAL}:
                raise ValueError(
                    "conditional_shape: expected a dict with keys 'global' and 'local', got keys "
                    f"{sorted(map(str, by_kind))}."
                )
        else:
            shape = checks.positive_ints("conditional_shape", conditional_shape)
            by_kind = {GLOBAL if len(shape) == 1 else LOCAL: shape}
        self.shapes: dict[str, tuple[int, ...]] = {
            kind: checks.positive_ints(
                f"conditional_shape[{kind!r}]" if self.is_dict else "conditional_shape", shape
            )
            for kind, shape in sorted(by_kind.items())
        }
        self._check_ranks(tuple(event_shape))

    def _check_ranks(self, event_shape):
        shape = self.shapes.get(GLOBAL)
        if shape is not None and len(shape) != 1:
            raise ValueError(f"conditional_shape['global']: expected [k], got {list(shape)}.")
        shape = self.shapes.get(LOCAL)
        if shape is None:
            return
        positions = shape[:-1]
        if not positions or event_shape[: len(positions)] != positions:
            raise ValueError(
                "conditional_shape: expected [k] or a local shape that begins with the positions "
                f"of event_shape {list(event_shape)}, got {list(shape)}."
            )

    def __bool__(self) -> bool:
        return bool(self.shapes)

    @property
    def public(self) -> Any:
        """The shape as a constructor takes it: None, a tuple, or a dict of tuples."""
        if self.is_dict:
            return dict(self.shapes)
        return next(iter(self.shapes.values()), None)

    @property
    def event_ndims(self) -> list[int]:
        """The number of trailing dimensions of each condition."""
        return [len(shape) for shape in self.shapes.values()]

    def parse(self, conditional_input: Any) -> dict[str, Any]:
        """Checks `conditional_input` and returns it as a dict by kind.

        Raises:
          TypeError: if the structure (dict or tensor) is not that of `conditional_shape`.
          ValueError: if it is missing, not wanted, or of another shape.
        """
        if conditional_input is None:
            if self:
                raise ValueError(
                    f"conditional_input: this network is conditioned on shape {self._shown}, got "
                    "None. Pass conditional_input, or bind it with tfp_ar.bind."
                )
            return {}
        if not self:
            raise ValueError(
                "conditional_input: this network has conditional_shape=None and would ignore it, "
                f"got {describe(conditional_input)}."
            )
        if isinstance(conditional_input, dict) != self.is_dict:
            raise TypeError(
                f"conditional_input: expected {self._shown}, got {describe(conditional_input)}."
            )
        given = conditional_input if self.is_dict else {next(iter(self.shapes)): conditional_input}
        if set(given) != set(self.shapes):
            raise ValueError(
                f"conditional_input: expected the keys {sorted(self.shapes)}, got "
                f"{sorted(map(str, given))}."
            )
        for kind, shape in self.shapes.items():
            name = f"conditional_input[{kind!r}]" if self.is_dict else "conditional_input"
            shapes.check_event_shape(name, shapes.static_shape(given[kind]), shape)
        return {kind: given[kind] for kind in self.shapes}

    def parse_batch(self, conditional_input: Any, batch_size: Any) -> dict[str, Any]:
        """Does as `parse`, for one leading dimension of `batch_size`, an int or a scalar tensor."""
        conditions = self.parse(conditional_input)
        for kind, shape in self.shapes.items():
            got = shapes.static_shape(conditions[kind])
            rows = batch_size if isinstance(batch_size, int) else None
            wrong_rank = got is not None and len(got) != 1 + len(shape)
            if wrong_rank or (got and None not in (got[0], rows) and got[0] != rows):
                wanted = ", ".join(map(str, ["batch_size" if rows is None else rows, *shape]))
                raise ValueError(f"conditional_input: expected shape [{wanted}], got {got}.")
        return conditions

    def join(self, conditions: Sequence) -> Any:
        """Returns conditions, given in the order of `shapes`, in the form that users pass."""
        if not self:
            return None
        if self.is_dict:
            return dict(zip(self.shapes, conditions, strict=True))
        return conditions[0]

    @property
    def _shown(self) -> str:
        if self.is_dict:
            return "a dict of " + ", ".join(f"{k!r}: {[*s]}" for k, s in self.shapes.items())
        return str([*self.public])


def map_conditions(function: Callable, conditional_input: Any) -> Any:
    """Returns `function` of the one array of a `conditional_input`, or of those in its dict."""
    if isinstance(conditional_input, dict):
        return {kind: function(condition) for kind, condition in conditional_input.items()}
    return None if conditional_input is None else function(conditional_input)


def describe(value: Any) -> str:
    """Returns a short description of a conditioning argument, for messages."""
    if isinstance(value, dict):
        return "a dict of " + ", ".join(f"{k!r}: {describe(v)}" for k, v in value.items())
    return f"a value of shape {shapes.static_shape(value)}"
