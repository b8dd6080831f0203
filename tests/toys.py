"""Small networks, layers and bijector functions that are not part of the package.

All of them are masked by plain arithmetic, so that they are causal whatever the weights.
"""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from keras import ops

from tfp_ar.networks import AutoregressiveNetwork

tfb = tfp.bijectors


# Networks and layers ----------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="tests")
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
        later = ops.pad(x, [[0, 0], [0, 1]])[:, 1:]
        waves = ops.sin(later)
        total = ops.flip(ops.cumsum(ops.flip(waves, -1), -1), -1)
        features = [ops.stack([later, total], -1)]
        if conditional_input is not None:
            c = ops.expand_dims(conditional_input, 1)
            features.append(ops.repeat(c, self.event_size, axis=1))
        return self.out(self.hidden(ops.concatenate(features, -1)))


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
        flat = ops.reshape(x, (-1, len(self.before), 1, 1))
        mask = ops.cast(self.before, x.dtype)
        seen = ops.sum(ops.tanh(flat * self.inner) * mask, axis=1)
        params = ops.matmul(seen, self.outer) + self.bias
        return ops.reshape(params, (-1, *self.shape, self.num_params))


class Shuffled(AutoregressiveNetwork):
    """MaskedPairs as a network without conditioning; its layer is built by the first call."""

    def __init__(self, event_shape=(2, 3), num_params=2, order=(4, 0, 3, 5, 1, 2), **kwargs):
        super().__init__(event_shape, num_params, **kwargs)
        self.permutation = np.array(order, np.int32)
        self.pairs = MaskedPairs(event_shape, order, num_params, dtype=self.dtype_policy)

    @property
    def order(self):
        """The permutation that was given."""
        return self.permutation

    def call(self, x):
        """The masked layer's."""
        return self.pairs(x)


@keras.saving.register_keras_serializable(package="tests")
class MaskedLinear(AutoregressiveNetwork):
    """A masked matrix product of x, causal in any order, with conditioning added.

        params[i] = sum_{j before i} x[j] W[j, i] + c @ V

    with c all conditioning in one vector. Its weights are made by the first call.

    Args:
      order: the permutation of the flat indices.
      claimed_order: what `order` says, if that is to be a lie.
    """

    def __init__(self, event_shape, order, num_params=2, claimed_order=None, **kwargs):
        super().__init__(event_shape, num_params, **kwargs)
        self.true_order = np.asarray(order, np.int32)
        self.claimed_order = self.true_order if claimed_order is None else claimed_order

    @property
    def order(self):
        return np.asarray(self.claimed_order, np.int32)

    def build(self, input_shape=None, **kwargs):
        size, params = self.event_size, self.num_params
        self.kernel = self.add_weight(shape=[size, size, params], initializer="random_normal")
        given = sum(int(np.prod(shape)) for shape in self.conditioning.shapes.values())
        self.condition_kernel = self.add_weight(shape=[given, size, params]) if given else None
        self.built = True

    def call(self, x, conditional_input=None):
        rank = np.argsort(self.true_order)
        mask = (rank[:, np.newaxis] < rank[np.newaxis, :])[..., np.newaxis]
        x = ops.reshape(x, [-1, self.event_size])
        params = ops.einsum("bj,jip->bip", x, self.kernel * ops.cast(mask, self.compute_dtype))
        if self.condition_kernel is not None:
            parts = self.conditioning.parse(conditional_input).values()
            sizes = [int(np.prod(part.shape[1:])) for part in parts]
            flat = [ops.reshape(part, [-1, n]) for part, n in zip(parts, sizes, strict=True)]
            c = ops.concatenate(flat, -1)
            params = params + ops.einsum("bk,kip->bip", c, self.condition_kernel)
        return ops.reshape(params, [-1, *self.event_shape, self.num_params])


class Raster(AutoregressiveNetwork):
    """One hidden layer that sees the variables before, in raster order; sampling is the reference.

    params[i] = bias[i] + output[i] tanh(W[i] x[<i] + V c)
    """

    hidden = 3

    def build(self, input_shape=None, **kwargs):
        n, h = self.event_size, self.hidden
        self.seen = self.add_weight((n, n, h), name="seen")
        self.output_kernel = self.add_weight((n, h, self.num_params), name="output")
        self.bias = self.add_weight((n, self.num_params), name="bias")
        if self.conditional_shape:
            self.of_condition = self.add_weight((*self.conditional_shape, h), name="condition")
        self.built = True

    def call(self, x, conditional_input=None):
        n = self.event_size
        mask = np.triu(np.ones([n, n]), 1)[..., np.newaxis].astype(self.variable_dtype)
        h = ops.einsum("bj,jih->bih", ops.reshape(x, [-1, n]), self.seen * mask)
        if conditional_input is not None:
            h += ops.matmul(conditional_input, self.of_condition)[:, np.newaxis]
        params = ops.einsum("bih,ihp->bip", ops.tanh(h), self.output_kernel) + self.bias
        return ops.reshape(params, [-1, *self.event_shape, self.num_params])


def masked_linear_params(network, x, i) -> np.ndarray:
    """Formula of MaskedLinear without conditioning: parameters [B, num_params] of variable i."""
    kernel = network.kernel.numpy().astype(np.float64)
    before = network.true_order[: list(network.true_order).index(i)]
    x = np.reshape(x, [len(x), -1])
    return sum((x[:, [j]] * kernel[j, i] for j in before), np.zeros([len(x), network.num_params]))


# Functions of parameters to bijectors -----------------------------------------------------------


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
