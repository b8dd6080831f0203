"""Compares the cost of the transformers: a flow of each, on one network, with the affine flow.

    python -m benchmarks.transformers

prints, for each transformer and batch size, milliseconds of log_prob, of log_prob with its
gradient, and of cached sampling, all compiled. It also prints their ratios to the affine flow in
the same run, and microseconds per step of sampling. The networks differ only in the size of their
last layer. Its weights and biases are random, so that the transformers are not near the identity.
"""

import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from benchmarks import _timing as timing
from tfp_ar.bijectors import Affine, MixtureOfLogistics, RationalQuadraticSpline

tfd = tfp.distributions

_LENGTH = flags.DEFINE_integer("length", 256, "Sequence length L.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8", "64"], "Batch sizes.")
_LAYERS = flags.DEFINE_integer("layers", 8, "Blocks of the WaveNet; dilations are 1, 2, 4, ...")
_CHANNELS = flags.DEFINE_integer("channels", 32, "Residual and skip channels.")
_BIAS = flags.DEFINE_float("bias", 0.5, "Standard deviation of the last layer's biases.")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "Timed calls of each candidate.")

_TRANSFORMERS = {
    "Affine()": Affine(),
    "MixtureOfLogistics(4)": MixtureOfLogistics(4),
    "MixtureOfLogistics(10)": MixtureOfLogistics(10),
    "RationalQuadraticSpline(8)": RationalQuadraticSpline(8),
}
_CALLS = ["log_prob", "gradient", "sample"]


def make_flow(transformer):
    """Returns a flow with random weights in the last layer."""
    network = tfp_ar.networks.WaveNet(
        [_LENGTH.value],
        num_params=transformer.num_params,
        residual_channels=_CHANNELS.value,
        dilations=[2**i for i in range(_LAYERS.value)],
    )
    head = network.head
    head.output_kernel.assign(
        0.01 * tf.random.stateless_normal(head.output_kernel.shape, seed=[0, 1])
    )
    head.output_bias.assign(
        _BIAS.value * tf.random.stateless_normal(head.output_bias.shape, seed=[0, 2])
    )
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [_LENGTH.value])
    return tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network, transformer))


def candidates(flow, batch: int) -> dict:
    """Returns the compiled functions to time."""
    x = tf.random.stateless_normal([batch, _LENGTH.value], seed=[1, 2])

    @tf.function(jit_compile=True)
    def gradient():
        with tf.GradientTape() as tape:
            loss = -tf.reduce_mean(flow.log_prob(x))
        first = tape.gradient(loss, flow.trainable_variables)
        return loss + tf.add_n([tf.reduce_sum(g) for g in first])  # XLA must compute all of them

    return {
        "log_prob": tf.function(lambda: flow.log_prob(x), jit_compile=True),
        "gradient": gradient,
        "sample": tf.function(lambda: flow.sample(batch, seed=[1, 2]), jit_compile=True),
    }


def main(argv):
    """Prints the table."""
    del argv
    print(timing.machine())
    print(
        f"WaveNet of {_LAYERS.value} blocks, {_CHANNELS.value} channels, L={_LENGTH.value}; median "
        "milliseconds (ratio to the affine flow); last column: microseconds per step of sampling\n"
    )
    print(f"{'transformer':<28}{'batch':>5}" + "".join(f"{c:>18}" for c in _CALLS) + "  us/step")
    flows = {name: make_flow(transformer) for name, transformer in _TRANSFORMERS.items()}
    for batch in map(int, _BATCHES.value):
        runs = {
            (name, call): function
            for name, flow in flows.items()
            for call, function in candidates(flow, batch).items()
        }
        timings = timing.measure(runs, _ROUNDS.value, budget_seconds=30.0)
        for name in flows:
            cells = [
                f"{1e3 * t.median:9.2f} ({t.ratio(timings[next(iter(flows)), call]):5.2f})"
                for call, t in ((call, timings[name, call]) for call in _CALLS)
            ]
            step = 1e6 * timings[name, "sample"].median / _LENGTH.value
            print(f"{name:<28}{batch:5d} {' '.join(cells)} {step:8.1f}", flush=True)


if __name__ == "__main__":
    app.run(main)
