"""Compares cached sampling with one network pass, the reference, and TFP's autoregressive flow.

    python -m benchmarks.sampling

prints, for each length and batch size, the seconds of one network pass (`net(x)` under
jit_compile), of log_prob and cached sampling (both inside a compiled function, and called eagerly),
of the reference, and of sampling from `tfb.MaskedAutoregressiveFlow` around the same network. It
also prints their ratios to the pass. The slow candidates run only if they are expected to take less
than --slow_seconds.
"""

import json

import tensorflow as tf
import tensorflow_probability as tfp
from absl import app, flags

import tfp_ar
from benchmarks import _timing as timing

tfb, tfd = tfp.bijectors, tfp.distributions

_LENGTHS = flags.DEFINE_list("lengths", ["64", "256", "1024", "4096"], "Sequence lengths L.")
_BATCHES = flags.DEFINE_list("batches", ["1", "8", "64"], "Batch sizes.")
_LAYERS = flags.DEFINE_integer("layers", 20, "Blocks; dilations are 1, 2, ..., 512, 1, 2, ...")
_CHANNELS = flags.DEFINE_integer("channels", 64, "Residual and skip channels.")
_ROUNDS = flags.DEFINE_integer("rounds", 7, "Timed calls of each candidate.")
_SLOW_SECONDS = flags.DEFINE_float("slow_seconds", 20.0, "Skip a reference expected to be slower.")
_JSON = flags.DEFINE_string("json", None, "File to write the figures to, too.")

_COLUMNS = [
    "pass",
    "log_prob",
    "log_prob eager",
    "cached",
    "cached eager",
    "reference",
    "tfp maf",
]
_DILATION_PERIOD = 10


def make_flow(length: int):
    """Returns the network, and the flow over sequences of that length."""
    network = tfp_ar.networks.WaveNet(
        event_shape=[length],
        residual_channels=_CHANNELS.value,
        dilations=[2 ** (i % _DILATION_PERIOD) for i in range(_LAYERS.value)],
    )
    # The last layer starts at zero. With small weights there, samples depend on the whole network.
    kernel = network.head.output_kernel
    kernel.assign(0.01 * tf.random.stateless_normal(kernel.shape, seed=[0, 1]))
    base = tfd.Sample(tfd.Normal(0.0, 1.0), [length])
    return network, tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))


def make_maf(network):
    """Returns TFP's flow around the same network, which takes one pass per variable."""

    def shift_and_log_scale(x):
        shift, raw = tf.unstack(network(x), axis=-1)
        return shift, 7.0 * tf.tanh(raw / 7.0)

    base = tfd.Sample(tfd.Normal(0.0, 1.0), network.event_shape)
    maf = tfb.MaskedAutoregressiveFlow(shift_and_log_scale_fn=shift_and_log_scale)
    return tfd.TransformedDistribution(base, maf)


def candidates(length: int, batch: int):
    """Returns the functions to time, with the slow ones in a second dict."""
    network, flow = make_flow(length)
    reference = tfp_ar.ARFlowBijector(network, sampling="reference")
    maf = make_maf(network)
    x = tf.random.stateless_normal([batch, length], seed=[1, 2])
    one_pass = tf.function(lambda x: network(x), jit_compile=True)
    log_prob = tf.function(lambda x: flow.log_prob(x), jit_compile=True)
    sample = tf.function(lambda: flow.sample(batch, seed=[1, 2]), jit_compile=True)
    sample_maf = tf.function(lambda: maf.sample(batch, seed=[1, 2]), jit_compile=True)
    fast = {
        "pass": lambda: one_pass(x),
        "log_prob": lambda: log_prob(x),
        # Each call gets a new tensor, as the bijector remembers the last one.
        "log_prob eager": lambda: flow.log_prob(tf.identity(x)),
        "cached": sample,
        "cached eager": lambda: flow.sample(batch, seed=[1, 2]),
    }
    slow = {
        "reference": lambda: reference.forward(tf.identity(x)),
        "tfp maf": sample_maf,
    }
    return fast, slow


def measure(length: int, batch: int) -> dict:
    """Measures the figures for one length and batch size."""
    fast, slow = candidates(length, batch)
    timings = timing.measure(fast, _ROUNDS.value, budget_seconds=30.0)
    ratios = {name: t.ratio(timings["pass"]) for name, t in timings.items()}
    # Each slow candidate takes about one pass per variable.
    if timings["pass"].median * length < _SLOW_SECONDS.value:
        more = timing.measure({"pass": fast["pass"], **slow}, rounds=2, budget_seconds=0.0)
        timings.update({name: more[name] for name in slow})
        ratios.update({name: more[name].ratio(more["pass"]) for name in slow})
    return {
        "length": length,
        "batch": batch,
        "seconds": {name: t.median for name, t in timings.items()},
        "ratio_to_pass": ratios,
        "cached_microseconds_per_step": timings["cached"].median / length * 1e6,
    }


def show(row: dict) -> str:
    """Returns one line of the table: seconds, and the ratio to one pass."""
    cells = [f"{row['length']:6d} {row['batch']:5d}"]
    for name in _COLUMNS:
        if name not in row["seconds"]:
            cells.append(f"{'-':>18}")
            continue
        seconds, ratio = row["seconds"][name], row["ratio_to_pass"][name]
        cells.append(f"{seconds:9.4f} ({ratio:6.2f})")
    cells.append(f"{row['cached_microseconds_per_step']:8.0f}")
    return " ".join(cells)


def main(argv):
    """Prints the table."""
    del argv
    print(timing.machine())
    print(
        f"WaveNet of {_LAYERS.value} blocks, {_CHANNELS.value} channels; median seconds (ratio to "
        "one pass) by length and batch; last column: microseconds per step of cached sampling\n"
    )
    print(" ".join([f"{'L':>6} {'batch':>5}", *(f"{name:>18}" for name in _COLUMNS), " us/step"]))
    rows = []
    for length in map(int, _LENGTHS.value):
        for batch in map(int, _BATCHES.value):
            rows.append(measure(length, batch))
            print(show(rows[-1]), flush=True)
    if _JSON.value:
        with open(_JSON.value, "w") as file:
            json.dump({"machine": timing.machine(), "rows": rows}, file, indent=2)


if __name__ == "__main__":
    app.run(main)
