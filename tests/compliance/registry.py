"""What the compliance tests run over: every network and every bijector, small, by name.

To have a new network tested, append to `NETWORKS` an

    Entry(name, make, event_shape, conditional_shape)

with `make(dtype)` -> a new network of two parameters a variable, all its variables of `dtype`
("float32" or "float64"). The affine flow on it is then in `FLOWS_ON_NETWORKS` by itself, and gets
those tests of a flow that depend on the network. A new setting of ARFlowBijector goes to `FLOWS`,
anything else that holds a flow to `COMPOSITIONS`, with `make(dtype)` -> a new tfb.Bijector. Rules:

* `make` makes everything anew: two calls share no variable. The tests randomise all variables.
* Names are unique; event shapes hold at most 8 variables, since an XLA compile takes a second.
* `conditional_shape` is that of the `conditional_input` still to be passed, None if none is.
* `sees_all=False` for a network that by design does not see all variables before one.
* `slow=True` leaves an entry (a network's flow) to `make test-all`, if others run all its code, and
  `part_of_another=True` the network too.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tfp_ar.networks import AutoregressiveNetwork, Flipped, GatedPixelCNN, PixelCNN, WaveNet
from tfp_ar.networks.layer_network import as_network

tfb, tfd = tfp.bijectors, tfp.distributions


@dataclasses.dataclass(frozen=True, eq=False)
class Entry:
    """One thing to test: see the module's docstring."""

    name: str
    make: Callable[[str], Any]
    event_shape: tuple[int, ...]
    conditional_shape: Any = None
    sees_all: bool = True
    slow: bool = False
    part_of_another: bool = False

    @property
    def event_size(self) -> int:
        """The number of variables in one x; the tests use batches of as many rows."""
        return int(np.prod(self.event_shape))

    @property
    def conditional(self) -> bool:
        """Whether the methods need a `conditional_input`."""
        return self.conditional_shape is not None

    def conditioning(self, batch, dtype="float64", seed=0) -> dict:
        """The keyword arguments of a call with leading shape `batch`."""
        if not self.conditional:
            return {}
        if not isinstance(self.conditional_shape, dict):
            c = helpers.normal([*batch, *self.conditional_shape], dtype, (seed, 0))
            return {"conditional_input": c}
        parts = sorted(self.conditional_shape.items())
        return {
            "conditional_input": {
                kind: helpers.normal([*batch, *shape], dtype, (seed, i))
                for i, (kind, shape) in enumerate(parts)
            }
        }

    def __str__(self):
        return self.name


# Networks that are not ours ---------------------------------------------------------------------


class LazyReversed(AutoregressiveNetwork):
    """Causal from the last variable to the first; its layers are built by the first call."""

    def __init__(self, event_shape, num_params=2, conditional_shape=None, **kwargs):
        super().__init__(event_shape, num_params, conditional_shape, **kwargs)
        self.hidden = keras.layers.Dense(5, activation="tanh", dtype=self.dtype_policy)
        self.out = keras.layers.Dense(num_params, dtype=self.dtype_policy)

    @property
    def order(self):
        """Last first."""
        return np.arange(self.event_size, dtype=np.int32)[::-1].copy()

    def call(self, x, conditional_input=None):
        """Features of the variables after i: a sum of sines, and the nearest."""
        later = keras.ops.pad(x, [[0, 0], [0, 1]])[:, 1:]
        waves = keras.ops.sin(later)
        total = keras.ops.flip(keras.ops.cumsum(keras.ops.flip(waves, -1), -1), -1)
        features = [keras.ops.stack([later, total], -1)]
        if conditional_input is not None:
            c = keras.ops.expand_dims(conditional_input, 1)
            features.append(keras.ops.repeat(c, self.event_size, axis=1))
        return self.out(self.hidden(keras.ops.concatenate(features, -1)))


class MaskedPairs(keras.layers.Layer):
    """A plain Keras layer, of any order: out[i] = sum_j tanh(x[j] W[j, i]) U[j, i], j before i."""

    def __init__(self, event_shape, order=None, num_params=2, hidden=2, **kwargs):
        super().__init__(**kwargs)
        size = int(np.prod(event_shape))
        order = np.arange(size) if order is None else np.asarray(order)
        rank = np.argsort(order)
        before = rank[:, np.newaxis] < rank[np.newaxis]  # [j, i]
        self.before = before[..., np.newaxis].astype("float64")
        self.shape, self.num_params, self.units = tuple(event_shape), num_params, hidden

    def build(self, input_shape):
        """Makes the weights of all pairs, those that the mask leaves out too."""
        size = len(self.before)
        self.inner = self.add_weight(shape=(size, size, self.units), name="inner")
        self.outer = self.add_weight(shape=(self.units, self.num_params), name="outer")
        self.bias = self.add_weight(shape=(size, self.num_params), name="bias")
        self.built = True

    def call(self, x):
        """The parameters for x [B, *event_shape]."""
        flat = keras.ops.reshape(x, (-1, len(self.before), 1, 1))
        mask = keras.ops.cast(self.before, x.dtype)
        seen = keras.ops.sum(keras.ops.tanh(flat * self.inner) * mask, axis=1)
        params = keras.ops.matmul(seen, self.outer) + self.bias
        return keras.ops.reshape(params, (-1, *self.shape, self.num_params))


class Shuffled(AutoregressiveNetwork):
    """An order that is neither raster nor its reverse, over an event of two dimensions."""

    PERMUTATION = (4, 0, 3, 5, 1, 2)

    def __init__(self, num_params=2, **kwargs):
        super().__init__([2, 3], num_params, **kwargs)
        self.pairs = MaskedPairs([2, 3], self.PERMUTATION, num_params, dtype=self.dtype_policy)

    @property
    def order(self):
        """PERMUTATION."""
        return np.array(self.PERMUTATION, np.int32)

    def call(self, x):
        """The masked layer's."""
        return self.pairs(x)


# Networks ---------------------------------------------------------------------------------------


def wavenet(event_shape=(4,), dilations=(2, 1), **kwargs):
    """A function dtype -> small WaveNet."""

    def make(dtype):
        settings = {"residual_channels": 3, "skip_channels": 6, **kwargs}
        return WaveNet(list(event_shape), dilations=dilations, dtype=dtype, **settings)

    return make


def pixels(network, event_shape, num_layers=2, **kwargs):
    """A function dtype -> small PixelCNN or GatedPixelCNN."""

    def make(dtype):
        settings = {"filters": 4, "num_layers": num_layers, "dtype": dtype, **kwargs}
        return network(list(event_shape), **settings)

    return make


def flipped(make, axes):
    """A function dtype -> what `make(dtype)` gives, in another direction."""
    return lambda dtype: Flipped(make(dtype), axes)


def lazy(**kwargs):
    """A function dtype -> LazyReversed of 4 variables, not yet built; quicker to trace."""
    return lambda dtype: LazyReversed([4], dtype=dtype, **kwargs)


_BOTH = {"global": (2,), "local": (4, 3)}
_CHANNELS_BOTH = {"global": (2,), "local": (3, 2)}
_PIXELS_BOTH = {"global": (2,), "local": (2, 2, 2)}

NETWORKS = [
    Entry("wavenet", wavenet((5,), None), (5,), slow=True),
    Entry(
        "wavenet_short_reach",
        wavenet((6,), (1,)),
        (6,),
        sees_all=False,
        slow=True,
        part_of_another=True,
    ),
    Entry("wavenet_one_step", wavenet((1,), (1,)), (1,)),
    Entry("wavenet_channels", wavenet((3, 2), (1,)), (3, 2), slow=True, part_of_another=True),
    Entry(
        "wavenet_kernel_1",
        wavenet((3, 2), (1,), kernel_size=1),
        (3, 2),
        sees_all=False,
        slow=True,
    ),
    Entry("wavenet_kernel_3", wavenet((6,), kernel_size=3, position_encoding="learned"), (6,)),
    Entry(
        "wavenet_global",
        wavenet(conditional_shape=[2], position_encoding="sinusoidal"),
        (4,),
        (2,),
        slow=True,
        part_of_another=True,
    ),
    Entry(
        "wavenet_local",
        wavenet((3,), conditional_shape=[3, 2], dropout=0.5, seed=3),
        (3,),
        (3, 2),
        slow=True,
        part_of_another=True,
    ),
    Entry(
        "wavenet_channels_both",
        wavenet((3, 2), (1,), conditional_shape=_CHANNELS_BOTH),
        (3, 2),
        _CHANNELS_BOTH,
        slow=True,
    ),
    Entry("pixel_cnn", pixels(PixelCNN, (2, 3, 1)), (2, 3, 1), sees_all=False),
    Entry("pixel_cnn_channels", pixels(PixelCNN, (1, 2, 3), 1), (1, 2, 3), slow=True),
    Entry(
        "pixel_cnn_both",
        pixels(PixelCNN, (2, 2, 1), conditional_shape=_PIXELS_BOTH, dropout=0.5, seed=3),
        (2, 2, 1),
        _PIXELS_BOTH,
        slow=True,
    ),
    Entry("gated_pixel_cnn", pixels(GatedPixelCNN, (2, 3, 1), 3), (2, 3, 1), slow=True),
    # In an image of one row or column a kernel of its layers would see nothing.
    Entry("gated_pixel_cnn_channels", pixels(GatedPixelCNN, (2, 2, 2)), (2, 2, 2), slow=True),
    Entry(
        "gated_pixel_cnn_both",
        pixels(GatedPixelCNN, (2, 2, 1), conditional_shape=_PIXELS_BOTH),
        (2, 2, 1),
        _PIXELS_BOTH,
        slow=True,
    ),
    Entry("lazy_reversed", lazy(), (4,), slow=True, part_of_another=True),
    Entry("lazy_reversed_global", lazy(conditional_shape=[2]), (4,), (2,)),
    Entry(
        "flipped",
        flipped(wavenet((3, 2), (1,), conditional_shape=_CHANNELS_BOTH), [0, 1]),
        (3, 2),
        _CHANNELS_BOTH,
        slow=True,
    ),
    Entry("shuffled", lambda dtype: Shuffled(dtype=dtype), (2, 3)),
    Entry("keras_layer", lambda dtype: as_network(MaskedPairs([5], dtype=dtype), [5]), (5,)),
]


# Bijectors --------------------------------------------------------------------------------------


def shift(params):
    """Volume preserving: one parameter."""
    return tfb.Shift(params[..., 0])


def sinh_arcsinh(params):
    """Four parameters: location, scale, skewness, tail weight; nonlinear in u."""
    mu, log_scale, skewness, raw_tail = tf.unstack(params, axis=-1)
    tail = tf.exp(tf.tanh(raw_tail))
    bent = tfb.SinhArcsinh(skewness=skewness, tailweight=tail)
    return tfb.Chain([tfb.Shift(mu), tfb.Scale(log_scale=tf.tanh(log_scale)), bent])


def decreasing(params):
    """A scale below zero: dx/du is negative everywhere."""
    return tfb.Chain([tfb.Shift(params[..., 0]), tfb.Scale(-tf.exp(tf.tanh(params[..., 1])))])


def flow(make, **kwargs):
    """A function dtype -> ARFlowBijector of the network that `make(dtype)` gives."""
    return lambda dtype: tfp_ar.ARFlowBijector(make(dtype), **kwargs)


def with_transformer(name, transformer):
    """The entry of a flow of `transformer`."""
    make = flow(lazy(num_params=transformer.num_params), bijector_fn=transformer, **_PLAIN)
    return Entry(name, make, (4,), slow=True)


def stack(chain, make, number=2, **kwargs):
    """A function dtype -> flows and permutations in turn, in `chain`."""

    def made(dtype):
        parts = []
        for k in range(number):
            parts += [flow(make, name=f"flow_{k}", **kwargs)(dtype), tfb.Permute([3, 1, 2, 0])]
        return chain(parts)

    return made


def norm_and(make):
    """A function dtype -> an ActNorm of fixed numbers around what `make(dtype)` gives."""

    def made(dtype):
        fixed = {
            name: helpers.normal([4], dtype, (3, i))
            for i, name in enumerate(("shift", "log_scale"))
        }
        return tfp_ar.bijectors.Chain([tfp_ar.bijectors.ActNorm([4], **fixed), make(dtype)])

    return made


def factory(make, **kwargs):
    """A function dtype -> two flows of opposite directions, by `tfp_ar.bijectors.stack`."""
    return lambda dtype: tfp_ar.bijectors.stack(
        lambda _: make(dtype), 2, actnorm=False, **_PLAIN, **kwargs
    )


def invert(make):
    """A function dtype -> the inverse of what `make(dtype)` gives."""
    return lambda dtype: tfb.Invert(make(dtype))


def bound(make, conditional_shape):
    """A function dtype -> what `make(dtype)` gives, bound to conditioning of no batch shape."""

    def made(dtype):
        c = Entry("", make, (), conditional_shape).conditioning([], dtype, seed=5)
        return tfp_ar.bind(make(dtype), **c)

    return made


# Without compilation of their own flows are quicker to test, and in graphs and under XLA they are
# tested all the same. Those that say nothing here are compiled, as users get them.
_PLAIN = {"jit_compile": False}
_GLOBAL = lazy(conditional_shape=[2])

FLOWS_ON_NETWORKS = [
    Entry(
        f"flow_on_{e.name}",
        flow(e.make, **_PLAIN),
        e.event_shape,
        e.conditional_shape,
        slow=e.slow,
    )
    for e in NETWORKS
]

FLOWS = [
    Entry("flow", flow(wavenet()), (4,), slow=True),
    Entry("flow_conditioned", flow(_GLOBAL), (4,), (2,)),
    Entry("flow_reference", flow(lazy(), sampling="reference", **_PLAIN), (4,), slow=True),
    Entry("flow_fixed_point", flow(lazy(), sampling="fixed_point", **_PLAIN), (4,), slow=True),
    Entry("flow_tight_bound", flow(lazy(), log_scale_bound=0.3, **_PLAIN), (4,), slow=True),
    Entry("flow_shift", flow(lazy(num_params=1), bijector_fn=shift, **_PLAIN), (4,), slow=True),
    Entry(
        "flow_lambda",
        flow(lazy(num_params=4), bijector_fn=lambda params: sinh_arcsinh(params), **_PLAIN),
        (4,),
    ),
    Entry("flow_decreasing", flow(lazy(), bijector_fn=decreasing, **_PLAIN), (4,), slow=True),
    # Their own code is in tests/bijectors/test_monotone_bijector.py.
    with_transformer("flow_mixture", tfp_ar.bijectors.MixtureOfLogistics(2)),
    with_transformer("flow_spline", tfp_ar.bijectors.RationalQuadraticSpline(3)),
    Entry("bound", bound(flow(_GLOBAL, **_PLAIN), (2,)), (4,)),
    Entry(
        "bound_both",
        bound(flow(wavenet(conditional_shape=_BOTH), **_PLAIN), _BOTH),
        (4,),
        slow=True,
    ),
]

_Chain = tfp_ar.bijectors.Chain

COMPOSITIONS = [
    Entry("invert", invert(flow(lazy())), (4,)),
    Entry("invert_conditioned", invert(flow(_GLOBAL, **_PLAIN)), (4,), (2,), slow=True),
    Entry("tfb_chain", stack(tfb.Chain, lazy(), **_PLAIN), (4,)),
    Entry("chain", stack(_Chain, lazy(), **_PLAIN), (4,), slow=True),
    Entry("chain_conditioned", stack(_Chain, _GLOBAL, **_PLAIN), (4,), (2,)),
    Entry("invert_chain", invert(stack(_Chain, lazy(), number=1, **_PLAIN)), (4,), slow=True),
    Entry("act_norm", norm_and(flow(lazy(), **_PLAIN)), (4,), slow=True),
    Entry("stack", factory(_GLOBAL), (4,), (2,), slow=True),
    Entry(
        "bound_tfb_chain",
        bound(stack(tfb.Chain, _GLOBAL, number=1, **_PLAIN), (2,)),
        (4,),
        slow=True,
    ),
]

BIJECTORS = FLOWS_ON_NETWORKS + FLOWS + COMPOSITIONS


def parametrized(entries, leave_out_slow=True):
    """The arguments of a `pytest.mark.parametrize` over entries."""
    marks = [
        [pytest.mark.slow] if entry.part_of_another or (entry.slow and leave_out_slow) else []
        for entry in entries
    ]
    params = [
        pytest.param(entry, id=entry.name, marks=m) for entry, m in zip(entries, marks, strict=True)
    ]
    return {"argnames": "entry", "argvalues": params}
