"""Values drawn one variable after the other, each from its conditional."""

import enum
import functools

import tensorflow as tf

from tfp_ar.bijectors.batch_runner import BatchRunner
from tfp_ar.bijectors.sampling import REFERENCE
from tfp_ar.distributions.sample_from_uniform import sample_from_uniform
from tfp_ar.internal import tf_private
from tfp_ar.internal.noise import unit_uniform
from tfp_ar.internal.program import Program
from tfp_ar.networks import AutoregressiveNetwork

_STREAM = 0x1B26E04D  # of the noise


class _Rule(enum.Enum):
    """Where a value comes from, given the distribution."""

    UNIFORMS = "uniform numbers drawn beforehand"
    SEED = "the distribution's own sample"
    MODE = "the distribution's mode"


class ConditionalSampler:
    """x[i] from distribution_fn(params[i](x[j] for all j before i)), for batches of any shape.

    The loop is compiled by XLA also when called eagerly; noise is drawn outside it, from integers,
    so that one seed gives one sample everywhere. No gradient goes through a sample.

    Args:
      network: the AutoregressiveNetwork.
      distribution_fn: params [..., num_params] -> a distribution of scalars; hashable.
      input_transform: elementwise, what the network sees of values; hashable; or None.
      takes_uniforms: whether `sample_from_uniform` samples the distributions. If not, their own
        `sample` is called in the loop, whose compiled code is for one batch size.
      sampling: 'cached' (the network's own `generate`) or 'reference' (a parallel pass a variable).
      jit_compile: whether XLA compiles the loop.
    """

    def __init__(
        self, network, distribution_fn, input_transform, takes_uniforms, sampling, jit_compile
    ):
        self._program = Program.of(network)
        self._event_shape = list(network.event_shape)
        self._dtype = tf.as_dtype(network.variable_dtype)
        self._functions = distribution_fn, input_transform
        self._draw = _Rule.UNIFORMS if takes_uniforms else _Rule.SEED
        self._sampling = sampling
        self._jit_compile = jit_compile
        self._padding = BatchRunner(network, jit_compile)
        self._not_padding = BatchRunner(network, jit_compile=False)

    def sample(self, shape, seed, parts):
        """Draws x [*shape, *event_shape], of the network's dtype.

        Args:
          shape: leading shape: a list of ints and scalar tensors.
          seed: stateless seed, an integer tensor [2].
          parts: list of the parts of the conditioning, their leading shapes broadcasting to
            `shape`.
        """
        return self._run(self._draw, shape, parts, seed)

    def complete(self, value, num_given, shape, seed, parts):
        """Draws x given the first variables: as `sample`, but x[i] is value[i] for i < num_given.

        Args:
          value: [..., *event_shape] of the network's dtype; the rest of it is not used.
          num_given: an int.
          shape: as in `sample`.
          seed: as in `sample`.
          parts: as in `sample`.
        """
        given = [value, tf.constant(num_given)]
        return self._run(self._draw, shape, parts, seed, given)

    def greedy(self, shape, parts):
        """Each x[i] is the mode of its conditional; see `sample`."""
        return self._run(_Rule.MODE, shape, parts, tf.zeros([2], tf.int32))

    def _run(self, rule, shape, parts, seed, given=()):
        event = [*shape, *self._event_shape]
        if rule is _Rule.UNIFORMS:  # both of a variable from the same place in the stream of bits
            uniforms = unit_uniform([*event, 2], seed, _STREAM, self._dtype)
            events = tf.unstack(uniforms, axis=-1)
        else:
            events = [tf.zeros(event, self._dtype)]  # which says the size of the batch
        *value, num_given = given or (tf.constant(0),)
        key = ("sample", rule, bool(given), self._sampling, *self._functions)
        make = functools.partial(_make, rule, bool(given), self._sampling, *self._functions)
        loop = self._program.function(key, make, self._jit_compile)
        runner = self._not_padding if rule is _Rule.SEED else self._padding
        with tf_private.not_recording([]):  # a compiled loop cannot even be run under a tape
            x = runner(lambda *tensors: loop(seed, num_given, *tensors), [*events, *value], parts)
        return tf.stop_gradient(x)


def _make(rule, is_given, sampling, distribution_fn, input_transform, network):
    """The loop, a function of a seed, the number of given variables and flat batches."""
    num_events = (2 if rule is _Rule.UNIFORMS else 1) + is_given

    def generate(seed, num_given, *tensors):
        shape, parts = tensors[0].shape, tensors[num_events:]
        rows = [tf.transpose(tf.reshape(t, [-1, network.event_size])) for t in tensors[:num_events]]

        def emit(params, i):
            x = _value(rule, distribution_fn(params), rows, seed, i)
            x = tf.cast(x, params.dtype)
            return tf.where(i < num_given, rows[-1][i], x) if is_given else x

        run = network.generate
        if sampling == REFERENCE:
            run = functools.partial(AutoregressiveNetwork.generate, network)
        # Not every network has the argument.
        kwargs = {} if input_transform is None else {"input_transform": input_transform}
        size = tf.shape(tensors[0])[0] if shape[0] is None else shape[0]
        x = run(emit, size, network.conditioning.join(parts), **kwargs)
        return tf.ensure_shape(x, shape)

    return generate


def _value(rule, distribution, rows, seed, i):
    if rule is _Rule.UNIFORMS:
        return sample_from_uniform(distribution, rows[0][i], rows[1][i])
    if rule is _Rule.MODE:
        return distribution.mode()
    return distribution.sample(seed=tf.random.fold_in(seed, i, alg="philox"))
