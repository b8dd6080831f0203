"""A train step as users write it."""

import tensorflow as tf


def make_step(flow, optimizer, jit_compile):
    """A train step: x -> the loss before it."""
    optimizer.build(flow.trainable_variables)

    @tf.function(jit_compile=jit_compile)
    def step(x):
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        variables = flow.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    return step
