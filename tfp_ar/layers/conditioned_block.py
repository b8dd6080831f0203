"""What the blocks that networks repeat have in common: dropout and conditioning."""

import keras
from keras import ops

from tfp_ar.internal import checks

_KINDS = ("global", "local")


class ConditionedBlock(keras.layers.Layer):
    """Base of the blocks: a layer that adds what conditioning gives to each position.

        z + c_global @ V + c_local @ W

    A subclass calls `_set_dropout` in its constructor, `_build_projections` in `build`, and
    `_conditioned` in `call`. One whose maps go through several gates has projections for each,
    which a prefix of their names tells apart.
    """

    num_position_dims = 1  # of z, between batch and channels

    def _set_dropout(self, rate, seed):
        """Sets `seed` and `dropout`, a layer, or None for rate 0.

        Raises:
          TypeError, ValueError: if `rate` is not in [0, 1), or `seed` no int.
        """
        rate, self.seed = checks.fraction("dropout", rate), checks.optional_int("seed", seed)
        dtype = self.dtype_policy
        self.dropout = (
            keras.layers.Dropout(rate, seed=self.seed, dtype=dtype, name="dropout")
            if rate
            else None
        )

    def _build_projections(self, filters, global_shape, local_shape, prefixes=("",)):
        """Makes V and W of so many columns, for each prefix, where there is such conditioning."""
        for kind, shape in zip(_KINDS, (global_shape, local_shape), strict=True):
            for prefix in prefixes if shape is not None else ():
                projection = keras.layers.Dense(
                    filters,
                    use_bias=False,
                    dtype=self.dtype_policy,
                    name=f"{prefix}{kind}_condition",
                )
                projection.build(shape)
                # An attribute each: Keras saves what it tracks by name.
                setattr(self, f"{prefix}{kind}_projection", projection)

    def _conditioned(self, z, global_condition, local_condition, prefix=""):
        """Adds to z [..., positions, filters] what the conditioning gives.

        Raises:
          ValueError: if a condition is missing, or one is there that the block was not built for.
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

    def get_config(self):
        """The arguments of the dropout, and those of any layer."""
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
