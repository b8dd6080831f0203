"""Block passes for any network: the whole event as the one block.

`AutoregressiveNetwork.block_passes` gives an object that knows how to pass over one block of
consecutive variables when all before it are known:

* `num_blocks`, and `block_variables`, the variables of a block; the last one may reach beyond the
  event, and what it has there counts for nothing;
* `places`: for each variable of the blocks its flat index in the event; None if they are as in the
  flattened event;
* `start()`: the state before the first block, a structure of tensors;
* `block(k, state)`: the block number k (an int32 scalar tensor), given the state before it, with
    - `params(x)`: parameters [B, block_variables, num_params] for values x [B, block_variables];
    - `end(x)`: the state before the next block, now that x is known.

Networks of an order that is neither raster order nor its flip have the whole event only.
"""

import tensorflow as tf


class WholeEvent:
    """One block, each pass of which is a parallel pass of the network.

    Args:
      network: the AutoregressiveNetwork.
      conditional_input: as the network takes it, with leading shape [B].
    """

    num_blocks = 1
    places = None

    def __init__(self, network, conditional_input):
        self._network, self._conditional_input = network, conditional_input
        self.block_variables = network.event_size

    def start(self):
        """Nothing."""
        return ()

    def block(self, k, state):
        """This, too: the only block."""
        del k, state
        return self

    def params(self, x):
        """Parameters [B, event_size, num_params] for x [B, event_size]."""
        network = self._network
        x = tf.reshape(x, [tf.shape(x)[0], *network.event_shape])
        params = network(x, self._conditional_input, training=False)
        return tf.reshape(params, [tf.shape(x)[0], network.event_size, network.num_params])

    def end(self, x):
        """Nothing."""
        del x
        return ()
