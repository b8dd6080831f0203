"""What all consumers of one network share: variables, change counter, compiled passes."""

import weakref

import tensorflow as tf

from tfp_ar.internal import tf_private
from tfp_ar.internal.variables import ChangeCounter, RawVariables

_programs = weakref.WeakKeyDictionary()


class Program:
    """The compiled functions of a network, and what tells whether its weights have changed.

    One per network, got by `Program.of(network)`: copies of a bijector (TFP makes them freely, and
    so does `bind`) share compiled functions instead of compiling for seconds each. It holds the
    network weakly, lest the registry keep it alive.
    """

    def __init__(self, network):
        self._network = weakref.ref(network)
        self._functions = {}
        self._known = {}
        self.variables = RawVariables(network)
        self.change_counter = ChangeCounter(self.variables.raw)

    @classmethod
    def of(cls, network) -> "Program":
        """The program of `network`."""
        if network not in _programs:
            _programs[network] = cls(network)
        return _programs[network]

    def once(self, key, find):
        """What find(network) says, asked once for each key: copies of a bijector are made freely.

        Args:
          key: hashable; says all that the answer depends on, besides the network.
          find: function network -> the answer, which must not hold the network. What it raises, it
            raises again the next time.
        """
        if key not in self._known:
            self._known[key] = find(self._network())
        return self._known[key]

    def function(self, key, make, jit_compile: bool):
        """A `tf.function` of the network, made once for each key.

        Args:
          key: hashable; says all that the function depends on, besides the network and its
            arguments.
          make: function network -> function of tensors, used if there is none for the key yet. It
            must not hold the network: the registry would keep that alive.
          jit_compile: whether XLA compiles it.
        """
        key = (key, jit_compile)
        if key not in self._functions:
            network_ref = self._network

            def traced(*args):
                # Whoever calls it first: a trace without its own tapes would be kept for all.
                with tf_private.recording():
                    return make(network_ref())(*args)

            self._functions[key] = tf.function(traced, jit_compile=jit_compile, autograph=False)
        return self._functions[key]
