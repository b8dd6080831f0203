"""The base of the blocks that networks repeat, with their dropout and conditioning."""

from typing import Any

import keras
from keras import ops

from tfp_ar.internal import checks

_KINDS = ("global", "local")


class ConditionedBlock(keras.layers.Layer):
    """Base of the blocks: a layer that adds projected conditioning at each position.

        z + c_global @ V + c_local @ W

    A subclass calls `_set_dropout` in its constructor, `_build_projections` in `build`, and
    `_conditioned` in `call`. A subclass whose maps go through several gates has projections for
    each gate, told apart by a prefix of their names.
    """

    num_position_dims = 1  # dimensions of z between batch and channels

    def _set_dropout(self, rate, seed):
        """Sets `seed`, and `dropout` to a layer, or to None for rate 0.

        Raises:
          TypeError, ValueError: if `rate` is not in [0, 1) or `seed` is not an integer.
        """
        rate, self.seed = checks.fraction("dropout", rate), checks.optional_int("seed", seed)
        dtype = self.dtype_policy
        self.dropout = (
            keras.layers.Dropout(rate, seed=self.seed, dtype=dtype, name="dropout")
            if rate
            else None
        )

    def _build_projections(self, filters, global_shape, local_shape, prefixes=("",)):
        """Makes V and W with `filters` columns, per prefix, for the conditioning that there is."""
        for kind, shape in zip(_KINDS, (global_shape, local_shape), strict=True):
            for prefix in prefixes if shape is not None else ():
                projection = keras.layers.Dense(
                    filters,
                    use_bias=False,
                    dtype=self.dtype_policy,
                    name=f"{prefix}{kind}_condition",
                )
                projection.build(shape)
                # Each needs its own attribute, under whose name Keras saves it.
                setattr(self, f"{prefix}{kind}_projection", projection)

    def _conditioned(self, z, global_condition, local_condition, prefix=""):
        """Adds the projected conditioning to z [..., positions, filters].

        Raises:
          ValueError: if a condition is missing, or the block was not built for one that is given.
        """
        for kind, condition in zip(_KINDS, (global_condition, local_condition), strict=True):
            projection = getattr(self, f"{prefix}{kind}_projection", None)
            if (condition is None) != (projection is None):
                raise ValueError(_mismatch(f"{kind}_condition", condition, projection))
            if condition is None:
                continue
            for _ in range(self.num_position_dims if kind == "global" else 0):
                condition = ops.expand_dims(condition, -2)
            z = z + projection(condition)
        return z

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the dropout and those of any layer."""
        return {
            **super().get_config(),
            "dropout": 0.0 if self.dropout is None else self.dropout.rate,
            "seed": self.seed,
        }


def _mismatch(name, condition, projection) -> str:
    if condition is None:
        size = projection.kernel.shape[0]
        return f"{name}: expected a tensor [..., {size}], for which the block was built, got None."
    return (
        f"{name}: expected None, as the block was built without it, got a value of shape "
        f"{list(condition.shape)}."
    )
