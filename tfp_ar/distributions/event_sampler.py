"""Sampling of one variable after the other, each from its conditional."""

import dataclasses
import enum
import functools
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfp_ar.distributions.inversion import sample_from_uniform
from tfp_ar.internal.compiled_network import CompiledNetwork
from tfp_ar.internal.random import unit_uniform
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation.reference import sequential_pass

_STREAM = 0x1B26E04D  # of the noise


class Rule(enum.Enum):
    """The source of a value, given its distribution."""

    UNIFORMS = "uniform numbers drawn beforehand"
    SEED = "the distribution's own sample"
    MODE = "the distribution's mode"


class EventSampler:
    """Sampler of x[i] from distribution_fn(params[i](x[j] for all j before i)), in any batch shape.

    XLA compiles the loop, in eager mode too. Noise is drawn outside it, from integers, so that one
    seed gives the same sample everywhere. No gradient flows through a sample.

    Args:
      network: the AutoregressiveNetwork.
      distribution_fn: function params [..., num_params] -> a distribution of scalars; hashable.
      input_transform: elementwise function from values to the network's input, hashable; or None.
      takes_uniforms: whether `sample_from_uniform` samples the distributions. If not, their own
        `sample` is called in the loop, whose compiled code is for one batch size.
      sampling: 'cached' (the network's own `generate`) or 'reference' (a parallel pass per
        variable).
      jit_compile: whether XLA compiles the loop.
    """

    def __init__(
        self,
        network: AutoregressiveNetwork,
        distribution_fn: Callable,
        input_transform: Callable | None,
        takes_uniforms: bool,
        sampling: str,
        jit_compile: bool,
    ):
        self._compiled = CompiledNetwork.of(network)
        self._event_shape = list(network.event_shape)
        self._dtype = tf.as_dtype(network.variable_dtype)
        self._pass = functools.partial(
            SamplePass, distribution_fn=distribution_fn, input_transform=input_transform
        )
        self._rule = Rule.UNIFORMS if takes_uniforms else Rule.SEED
        self._sampling = sampling
        self._jit_compile = jit_compile

    def sample(self, shape: Sequence, seed: tf.Tensor, conditions: dict) -> tf.Tensor:
        """Draws x [*shape, *event_shape], of the network's dtype.

        Args:
          shape: the leading shape, a list of ints and scalar tensors.
          seed: stateless seed, an integer tensor [2].
          conditions: the conditions by kind, their leading shapes broadcasting to `shape`.
        """
        return self._run(self._rule, shape, conditions, seed)

    def complete(
        self, value: tf.Tensor, num_given: int, shape: Sequence, seed: tf.Tensor, conditions: dict
    ) -> tf.Tensor:
        """Draws x given the first variables: x[i] is value[i] for i < num_given.

        Args:
          value: [..., *event_shape] of the network's dtype; variables that are not given are
            ignored.
          num_given: the number of given variables, an int.
          shape: as in `sample`.
          seed: as in `sample`.
          conditions: as in `sample`.
        """
        return self._run(self._rule, shape, conditions, seed, [value], num_given)

    def greedy(self, shape: Sequence, conditions: dict) -> tf.Tensor:
        """Takes for each x[i] the mode of its conditional; see `sample`."""
        return self._run(Rule.MODE, shape, conditions, tf.zeros([2], tf.int32))

    def _run(self, rule, shape, conditions, seed, value=(), num_given=0):
        event = [*shape, *self._event_shape]
        if rule is Rule.UNIFORMS:  # a variable's two numbers are neighbours in the stream of bits
            uniforms = unit_uniform([*event, 2], seed, _STREAM, self._dtype)
            events = tf.unstack(uniforms, axis=-1)
        else:
            events = [tf.zeros(event, self._dtype)]  # which carry the batch size
        sample_pass = self._pass(rule=rule, is_given=bool(value), sampling=self._sampling)
        weights = self._compiled.weights()

        def run(*tensors):  # unrecorded: under a recording tape a compiled loop fails
            loop = self._compiled.unrecorded(sample_pass, self._jit_compile)
            return loop(weights, seed, tf.constant(num_given), *tensors)

        pad = self._jit_compile and rule is not Rule.SEED
        x = self._compiled.batched(run, [*events, *value], conditions, pad)
        return tf.stop_gradient(x)


@dataclasses.dataclass(frozen=True)
class SamplePass:
    """Sequential pass of a distribution.

    Args:
      rule: the source of values.
      is_given: whether the first variables are given.
      sampling: 'cached' or 'reference'.
      distribution_fn: function params [..., num_params] -> a distribution of scalars.
      input_transform: elementwise function from values to the network's input, or None.
    """

    rule: Rule
    is_given: bool
    sampling: str
    distribution_fn: Callable
    input_transform: Callable | None

    def __call__(
        self,
        network: AutoregressiveNetwork,
        seed: tf.Tensor,
        num_given: tf.Tensor,
        *events: tf.Tensor,
        conditional_input: Any,
    ) -> tf.Tensor:
        """Returns x [B, *event_shape], for noise and given values of that shape."""
        shape = events[0].shape
        rows = [tf.transpose(tf.reshape(event, [-1, network.event_size])) for event in events]

        def emit(params, i):
            x = tf.cast(self._value(self.distribution_fn(params), rows, seed, i), params.dtype)
            return tf.where(i < num_given, rows[-1][i], x) if self.is_given else x

        generate = sequential_pass(network, self.sampling)
        # Passed only if needed: not every network's `generate` has the argument.
        transform = self.input_transform
        kwargs = {} if transform is None else {"input_transform": transform}
        size = tf.shape(events[0])[0] if shape[0] is None else shape[0]
        return tf.ensure_shape(generate(emit, size, conditional_input, **kwargs), shape)

    def _value(self, distribution, rows, seed, i):
        if self.rule is Rule.UNIFORMS:
            return sample_from_uniform(distribution, rows[0][i], rows[1][i])
        if self.rule is Rule.MODE:
            return distribution.mode()
        return distribution.sample(seed=tf.random.fold_in(seed, i, alg="philox"))
