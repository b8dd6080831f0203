"""Distributions as SavedModels, which need TensorFlow alone."""

import os

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import forwarding

tfd = tfp.distributions

LOG_PROB, SAMPLE = "log_prob", "sample"
VALUE, SEED, CONDITION, NUMBER = "value", "seed", "conditional_input", "n"


def export_saved_model(
    distribution: tfp.distributions.Distribution, directory: str | os.PathLike
) -> None:
    """Writes a distribution as a SavedModel with the signatures `log_prob` and `sample`.

    The SavedModel needs TensorFlow only: neither tfp_ar nor TensorFlow Probability nor the code
    that made the distribution. The weights are those at the time of the call. Inputs, by name:

    * log_prob: `value` [n, *batch, *event]; `conditional_input` [n, ...] if the distribution is
      conditioned; `seed` [2] int32 if its log_prob is a stochastic bound. Output: `log_prob`
      [n, *batch], in nats.
    * sample: `n`, an int32 scalar; `seed` [2] int32; `conditional_input` [m, ...] if the
      distribution is conditioned. Output: `sample` [n, *batch, *event], or [n, m, *event].

    Conditioning that is a dict has one input per condition: `conditional_input_global` and
    `conditional_input_local`. Conditioning has the network's dtype, values have the distribution's
    dtype. A seed gives the same results as in the distribution itself. XLA compiles sampling once
    per batch size, at the first call.

    Args:
      distribution: a tfd.Distribution of known event shape and known batch shape.
      directory: the folder to write to, created if necessary. A SavedModel in it is replaced.

    Raises:
      TypeError: if `distribution` is not a distribution.
      ValueError: if its shapes are not known, its flows expect different conditioning, or
        `directory` cannot be written to.

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
            f"distribution: expected a tfd.Distribution, got {distribution!r}. (For a "
            "DensityModel, pass its distribution.)"
        )
    for kind in ("event_shape", "batch_shape"):
        shape = getattr(distribution, kind)
        if not isinstance(shape, tf.TensorShape) or not shape.is_fully_defined():
            raise ValueError(f"distribution: expected a known {kind}, got {shape}.")
    module = _Exported(distribution)
    directory = _writable(directory)
    signatures = {LOG_PROB: module.log_prob, SAMPLE: module.sample}
    # Gradients of the loaded functions would double the size of the file.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, directory, signatures, options)


class _Exported(tf.Module):
    """Two functions and raw variables: TensorFlow would not find variables inside layers."""

    def __init__(self, distribution):
        super().__init__()
        self.held = list(distribution.variables)
        spec = forwarding.open_conditioning(distribution)
        dtype, event = distribution.dtype, list(distribution.event_shape)
        batch = list(distribution.batch_shape)
        seed = tf.TensorSpec([2], tf.int32, SEED)
        condition_specs = _condition_specs(spec, forwarding.float_dtype(distribution))
        random = forwarding.has_random_log_prob(distribution)

        def joined(conditions):
            return None if spec is None else spec.join(conditions)

        def log_prob(value, *rest):
            *conditions, given_seed = rest if random else (*rest, None)
            return {
                LOG_PROB: forwarding.log_prob(distribution, value, joined(conditions), given_seed)
            }

        def sample(n, given_seed, *conditions):
            conditioned = forwarding.conditioned(distribution, joined(conditions))
            return {SAMPLE: conditioned.sample(n, seed=given_seed)}

        value = tf.TensorSpec([None, *batch, *event], dtype, VALUE)
        self.log_prob = _traced(log_prob, [value, *condition_specs, *([seed] if random else [])])
        self.sample = _traced(sample, [tf.TensorSpec([], tf.int32, NUMBER), seed, *condition_specs])


def _traced(function, specs):
    """Returns `function` as a graph that raises if an input has another shape than its spec.

    The signatures of a SavedModel do not check shapes: a wrong one would fail deep inside, or
    broadcast.
    """

    def checked(*inputs):
        named = zip(inputs, specs, strict=True)
        return function(
            *(tf.ensure_shape(x, spec.shape, f"input_{spec.name}") for x, spec in named)
        )

    # autograph would convert the code of TFP and Keras for nothing.
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
    """Returns the path as a string, after making the folder and writing to it.

    Raises:
      ValueError: if that fails.
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
