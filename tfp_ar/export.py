"""Distributions as SavedModels, which need TensorFlow alone."""

import os

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import forwarding

tfd = tfp.distributions

LOG_PROB, SAMPLE = "log_prob", "sample"
VALUE, SEED, CONDITION, NUMBER = "value", "seed", "conditional_input", "n"


def export_saved_model(distribution, directory) -> None:
    """Writes a distribution as a SavedModel with the signatures `log_prob` and `sample`.

    What is written needs TensorFlow only: neither tfp_ar nor TensorFlow Probability nor the code
    that made the distribution. The weights are those of this moment. Inputs, by name:

    * log_prob: `value` [n, *batch, *event]; `conditional_input` [n, ...] if the distribution is
      conditioned; `seed` [2] int32 if its log_prob is a stochastic bound. Output: `log_prob`
      [n, *batch], in nats.
    * sample: `n`, an int32 scalar; `seed` [2] int32; `conditional_input` [m, ...] if the
      distribution is conditioned. Output: `sample` [n, *batch, *event], or [n, m, *event].

    A conditioning that is a dict has an input for each part: `conditional_input_global` and
    `conditional_input_local`; it is of the network's dtype. Values are of the distribution's dtype.
    The same seed gives what the distribution gives for it; sampling is compiled by XLA for each
    size of batch, at the first call.

    Args:
      distribution: a tfd.Distribution of known event shape and known batch shape.
      directory: where to write; made if need be. A SavedModel that is there is replaced.

    Raises:
      TypeError: if `distribution` is no distribution.
      ValueError: if its shapes are not known, its flows want different conditioning, or `directory`
        cannot be written.

    >>> import tempfile
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    >>> network = tfp_ar.networks.WaveNet([4])
    >>> flow = tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))
    >>> directory = tempfile.mkdtemp()
    >>> tfp_ar.export_saved_model(flow, directory)
    >>> loaded = tf.saved_model.load(directory)
    >>> seed = tf.constant([1, 2])
    >>> loaded.signatures["sample"](n=tf.constant(3), seed=seed)["sample"].shape
    TensorShape([3, 4])
    """
    if not isinstance(distribution, tfd.Distribution):
        raise TypeError(
            f"distribution: expected a tfd.Distribution, got {distribution!r}. (Of a DensityModel, "
            "its distribution.)"
        )
    for kind in ("event_shape", "batch_shape"):
        shape = getattr(distribution, kind)
        if not isinstance(shape, tf.TensorShape) or not shape.is_fully_defined():
            raise ValueError(f"distribution: expected a known {kind}, got {shape}.")
    module = _Exported(distribution)
    directory = _writable(directory)
    signatures = {LOG_PROB: module.log_prob, SAMPLE: module.sample}
    # Without what is needed to differentiate what is loaded, the file has half the size.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, directory, signatures, options)


class _Exported(tf.Module):
    """Two functions, and nothing but raw variables: TensorFlow could not find those of layers."""

    def __init__(self, distribution):
        super().__init__()
        self.held = list(distribution.variables)
        spec = forwarding.open_conditioning(distribution)
        dtype, event = distribution.dtype, list(distribution.event_shape)
        batch = list(distribution.batch_shape)
        seed = tf.TensorSpec([2], tf.int32, SEED)
        conditions = _condition_specs(spec, forwarding.float_dtype(distribution))
        random = forwarding.has_random_log_prob(distribution)

        def condition_of(parts):
            return None if spec is None else spec.join(parts)

        def log_prob(value, *rest):
            *parts, given_seed = rest if random else (*rest, None)
            return {
                LOG_PROB: forwarding.log_prob(distribution, value, condition_of(parts), given_seed)
            }

        def sample(n, given_seed, *parts):
            conditioned = forwarding.conditioned(distribution, condition_of(parts))
            return {SAMPLE: conditioned.sample(n, seed=given_seed)}

        value = tf.TensorSpec([None, *batch, *event], dtype, VALUE)
        self.log_prob = _traced(log_prob, [value, *conditions, *([seed] if random else [])])
        self.sample = _traced(sample, [tf.TensorSpec([], tf.int32, NUMBER), seed, *conditions])


def _traced(function, specs):
    """`function` as a graph that says so if an input has another shape than its spec.

    The signatures of a SavedModel do not check shapes; what does not fit would fail deep inside, or
    broadcast.
    """

    def checked(*inputs):
        named = zip(inputs, specs, strict=True)
        return function(
            *(tf.ensure_shape(x, spec.shape, f"input_{spec.name}") for x, spec in named)
        )

    # autograph would convert TFP and Keras, for nothing.
    return tf.function(checked, autograph=False).get_concrete_function(*specs)


def _condition_specs(spec, dtype) -> list:
    if spec is None:
        return []
    names = [f"{CONDITION}_{kind}" for kind in spec.shapes] if spec.is_dict else [CONDITION]
    return [
        tf.TensorSpec([None, *shape], dtype, name)
        for name, shape in zip(names, spec.shapes.values(), strict=True)
    ]


def _writable(directory) -> str:
    """The path as a string, of a folder that exists and can be written.

    Raises:
      ValueError: if it cannot.
    """
    if not isinstance(directory, (str, os.PathLike)) or not str(directory):
        raise ValueError(f"directory: expected a path, got {directory!r}.")
    path = os.fspath(directory)
    probe = os.path.join(path, ".writable")
    try:
        tf.io.gfile.makedirs(path)
        with tf.io.gfile.GFile(probe, "w") as file:
            file.write("")
        tf.io.gfile.remove(probe)
    except (tf.errors.OpError, OSError) as error:
        reason = getattr(error, "message", None) or error
        raise ValueError(
            f"directory: expected a folder that can be written, got {path!r}: {reason}"
        ) from error
    return path
