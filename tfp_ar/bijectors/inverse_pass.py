"""The inverse map of a flow: one parallel pass, with its log-det."""

import tensorflow as tf


def inverse_pass(network, transformer, x, conditional_input, training):
    """Noise u and log|det du/dx| for x [..., *event_shape], by one parallel pass.

    Args:
      network: the AutoregressiveNetwork.
      transformer: params [..., num_params] -> elementwise bijector.
      x: [..., *event_shape].
      conditional_input: as the network takes it.
      training: whether dropout is on.

    Returns: u [..., *event_shape] and the log-det [...].
    """
    bijector = transformer(network(x, conditional_input, training=training))
    u = bijector.inverse(x)
    ildj = bijector.inverse_log_det_jacobian(x, event_ndims=0)
    ildj = tf.broadcast_to(ildj, tf.shape(u))  # a constant log-det comes as a scalar
    return u, tf.reduce_sum(ildj, axis=list(range(-len(network.event_shape), 0)))


def make_inverse_pass(transformer):
    """For `Program.function`: network -> function of x and the parts of the conditioning."""

    def make(network):
        def run(x, *parts):
            condition = network.conditioning.join(parts)
            return inverse_pass(network, transformer, x, condition, training=False)

        return run

    return make
