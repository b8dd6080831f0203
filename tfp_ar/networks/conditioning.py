"""What a network is conditioned on: shapes, checks, defaults."""

from keras import ops

from tfp_ar.internal import checks

GLOBAL, LOCAL = "global", "local"


class ConditioningSpec:
    """The shapes of a network's `conditional_input`, in the form the user gave them.

    Args:
      conditional_shape: None; [k] (one vector an event, "global"); [L, k] or [H, W, k] (one vector
        a position, "local"); or a dict with keys 'global' and 'local' for both.
      event_shape: the network's event shape; local shapes begin with its positions.

    Raises:
      TypeError, ValueError: if `conditional_shape` has no such form.
    """

    def __init__(self, conditional_shape, event_shape):
        self.is_dict = isinstance(conditional_shape, dict)
        if conditional_shape is None:
            shapes = {}
        elif self.is_dict:
            shapes = dict(conditional_shape)
            if not shapes or set(shapes) - {GLOBAL, LOCAL}:
                raise ValueError(
                    "conditional_shape: expected a dict with keys 'global' and 'local', got keys "
                    f"{sorted(map(str, shapes))}."
                )
        else:
            shape = checks.positive_ints("conditional_shape", conditional_shape)
            shapes = {GLOBAL if len(shape) == 1 else LOCAL: shape}
        self.shapes = {
            kind: checks.positive_ints(
                f"conditional_shape[{kind!r}]" if self.is_dict else "conditional_shape", shape
            )
            for kind, shape in sorted(shapes.items())
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

    def __bool__(self):
        return bool(self.shapes)

    @property
    def public(self):
        """The shape as a constructor takes it: None, a tuple, or a dict of tuples."""
        if self.is_dict:
            return dict(self.shapes)
        return next(iter(self.shapes.values()), None)

    @property
    def event_ndims(self) -> list[int]:
        """Number of trailing dimensions of each part."""
        return [len(shape) for shape in self.shapes.values()]

    def split(self, conditional_input) -> dict:
        """Checks `conditional_input` and returns its parts by kind.

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
        parts = conditional_input if self.is_dict else {next(iter(self.shapes)): conditional_input}
        if set(parts) != set(self.shapes):
            raise ValueError(
                f"conditional_input: expected the keys {sorted(self.shapes)}, got "
                f"{sorted(map(str, parts))}."
            )
        for kind, shape in self.shapes.items():
            name = f"conditional_input[{kind!r}]" if self.is_dict else "conditional_input"
            checks.event_shape(name, static_shape(parts[kind]), shape)
        return {kind: parts[kind] for kind in self.shapes}

    def split_batch(self, conditional_input, batch_size) -> dict:
        """`split` for a single leading dimension of `batch_size`, an int or a scalar tensor."""
        parts = self.split(conditional_input)
        for kind, shape in self.shapes.items():
            got = static_shape(parts[kind])
            rows = batch_size if isinstance(batch_size, int) else None
            wrong_rank = got is not None and len(got) != 1 + len(shape)
            if wrong_rank or (got and None not in (got[0], rows) and got[0] != rows):
                wanted = ", ".join(map(str, ["batch_size" if rows is None else rows, *shape]))
                raise ValueError(f"conditional_input: expected shape [{wanted}], got {got}.")
        return parts

    def join(self, parts):
        """Undoes `split`: the parts, given in the order of `shapes`, in the user's form."""
        if not self:
            return None
        if self.is_dict:
            return dict(zip(self.shapes, parts, strict=True))
        return parts[0]

    @property
    def _shown(self) -> str:
        if self.is_dict:
            return "a dict of " + ", ".join(f"{k!r}: {[*s]}" for k, s in self.shapes.items())
        return str([*self.public])


def static_shape(value):
    """The static shape of anything a tensor can be made of, None where unknown."""
    shape = getattr(value, "shape", None)
    if shape is None:
        shape = ops.convert_to_tensor(value).shape
    if getattr(shape, "rank", 0) is None:
        return None
    return list(shape)


def describe(value) -> str:
    """A short description of a conditioning argument, for messages."""
    if isinstance(value, dict):
        return "a dict of " + ", ".join(f"{k!r}: {describe(v)}" for k, v in value.items())
    return f"a value of shape {static_shape(value)}"
