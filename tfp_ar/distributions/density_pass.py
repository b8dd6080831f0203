"""The log-probability of values under their conditionals: one parallel pass."""

import tensorflow as tf


def density_pass(network, distribution_fn, input_transform, x, conditional_input, training):
    """Log-probabilities of x [..., *event_shape], summed over the variables.

    Args:
      network: the AutoregressiveNetwork.
      distribution_fn: params [..., num_params] -> a distribution of scalars.
      input_transform: elementwise, what the network sees of x; or None.
      x: [..., *event_shape], values that the conditionals are over.
      conditional_input: as the network takes it.
      training: whether dropout is on.

    Returns: [...].
    """
    shown = x if input_transform is None else input_transform(x)
    distribution = distribution_fn(network(shown, conditional_input, training=training))
    log_prob = distribution.log_prob(tf.cast(x, distribution.dtype))
    return tf.reduce_sum(log_prob, axis=list(range(-len(network.event_shape), 0)))


def make_density_pass(distribution_fn, input_transform):
    """For `Program.function`: network -> function of x and the parts of the conditioning."""

    def make(network):
        def run(x, *parts):
            condition = network.conditioning.join(parts)
            return density_pass(network, distribution_fn, input_transform, x, condition, False)

        return run

    return make
