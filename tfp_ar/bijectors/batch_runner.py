"""Runs a pass that takes one flat batch on tensors of any leading shape."""

import tensorflow as tf

from tfp_ar.internal import batching, tf_private
from tfp_ar.internal.program import Program


class BatchRunner:
    """Merges leading dimensions, pads the batch so that compiled code is shared, and undoes both.

    Args:
      network: the network, for its event shape and conditioning.
      jit_compile: whether XLA compiles the passes; without it nothing is padded.
    """

    def __init__(self, network, jit_compile):
        self._program = Program.of(network)
        self._event_ndims = len(network.event_shape)
        self._part_ndims = network.conditioning.event_ndims
        self._jit_compile = jit_compile

    def compiled(self, key, make):
        """The network's function for `key`; see `Program.function`."""
        return self._program.function(key, make, self._jit_compile)

    def __call__(self, run, value, parts):
        """Calls run(value, *parts), or run(*value, *parts) of a list, on flat batches.

        Args:
          run: function of tensors [B, ...] that gives a tensor or tuple of tensors [B, ...].
          value: [..., *event_shape], or a list of such.
          parts: list of the parts of the conditioning, their leading shapes broadcasting with
            value's.

        Returns: what `run` gives, with the broadcast leading shape instead of B.
        """
        events = value if isinstance(value, list) else [value]
        values = [*events, *parts]
        ndims = [self._event_ndims] * len(events) + self._part_ndims
        shape = batching.broadcast_leading(
            [batching.leading(v, n) for v, n in zip(values, ndims, strict=True)]
        )
        values = batching.flatten(values, ndims, shape)
        size = batching.batch_size(shape)
        padded = self._padded_size(size)
        results = run(*batching.pad(values, size, padded))

        def restore(result):
            return batching.unflatten(result[:size] if padded is not size else result, shape)

        return tf.nest.map_structure(restore, results)

    def _padded_size(self, size):
        # Inside an XLA computation shapes are fixed anyway, and so they are where XLA is not used.
        if not self._jit_compile or tf_private.in_xla_context():
            return size
        if isinstance(size, int):
            return batching.padded_size(size) if tf.executing_eagerly() or size == 0 else size
        return batching.padded_size_tensor(size)
