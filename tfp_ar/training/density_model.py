"""A Keras model around a distribution, for `compile`, `fit` and `evaluate`."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.conditioning import forwarding
from tfp_ar.internal import tf_private
from tfp_ar.internal.random import Stream, check_seed, stream_seed
from tfp_ar.internal.variables import random_states
from tfp_ar.metrics import BitsPerDim, bits_per_dim
from tfp_ar.training import data
from tfp_ar.training.averaging_model import AveragingModel

tfd = tfp.distributions

_BATCH_SIZE = 32  # Keras' own default
_MASKS_PER_STEP = 256  # masks per step that do not repeat those of the next
_SEEDS = 2**31  # the number of seeds that Keras takes, whatever the dtype of its state


class DensityModel(AveragingModel):
    """Keras model that trains any distribution by maximum likelihood.

        loss = mean over the batch of -log_prob(x) / (d log 2) + regularisation, in bits/dim

    Keras sees every variable: those of the networks, and those of the rest of the distribution
    (its base, its other bijectors) as well, for training, `save_weights`, callbacks and averaging.
    The distribution itself remains the same object; training changes its variables.

    Everything random in training is a function of `seed` and the number of steps taken: the order
    of arrays, the noise of a `tfp_ar.Dequantized`, dropout masks. Training that was killed and is
    resumed from `keras.callbacks.BackupAndRestore` ends, on a CPU, bit for bit as it would have
    without the interruption; with a `save_freq` in steps, Keras itself begins the epoch again. (A
    tf.data pipeline has its own order: make that a function of the epoch. Callbacks such as
    EarlyStopping start afresh, as Keras does not save their state.)

    With an optimizer that averages (`use_ema=True`), `evaluate`, `predict` and `save_weights` use
    the averages during training, and `fit` leaves them in the weights. `SwapEMAWeights` is not
    needed; other code gets the averages within `with model.averaged_weights():`.

    Args:
      distribution: a tfd.Distribution of known event shape whose `log_prob` is to be maximised.
      seed: an int in 0..2^31 - 1. Default 0.
      name: name of the model. Default 'density_model'.

    Methods take data as x, an array [n, *event] or a dataset of batches. If the distribution is
    conditioned, they also take `conditional_input`, an array [n, ...] (or a dict of such arrays),
    which may be passed as y, too. Elements of datasets are x, (x, conditional_input) or a dict with
    the keys 'value' and 'conditional_input'.

    For mixed precision, give the networks a mixed policy (`WaveNet(..., dtype="mixed_bfloat16")`):
    densities stay in the dtype of the distribution. With "mixed_float16", wrap the optimizer in
    `keras.optimizers.LossScaleOptimizer`.

    Raises:
      TypeError, ValueError: if `distribution` is not a distribution of a known event shape, or
        `seed` is not an int in 0..2^31 - 1.

    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    >>> network = tfp_ar.networks.WaveNet([4])
    >>> flow = tfd.TransformedDistribution(base, tfp_ar.ARFlowBijector(network))
    >>> model = DensityModel(tfp_ar.Dequantized(flow))
    >>> model.compile(keras.optimizers.Adam(0.01))
    >>> x = np.random.default_rng(0).integers(0, 4, [256, 4])
    >>> history = model.fit(x, epochs=2, verbose=0)
    >>> sorted(history.history)
    ['bits_per_dim', 'loss']
    >>> model.distribution.sample(3, seed=[1, 2]).shape
    TensorShape([3, 4])
    """

    def __init__(self, distribution: tfd.Distribution, seed: int = 0, name: str = "density_model"):
        if not isinstance(distribution, tfd.Distribution):
            raise TypeError(f"distribution: expected a tfd.Distribution, got {distribution!r}.")
        shape = distribution.event_shape
        if not isinstance(shape, tf.TensorShape) or not shape.is_fully_defined():
            raise ValueError(f"distribution: expected a known event shape, got {shape}.")
        if distribution.batch_shape.rank != 0:
            raise ValueError(
                "distribution: expected a batch shape of [], got "
                f"{distribution.batch_shape}. Pass conditional_input to fit instead of binding it, "
                "or wrap the distribution in tfd.Independent."
            )
        # Without this dtype, Keras would cast x to that of the global policy.
        super().__init__(name=name, dtype=forwarding.float_dtype(distribution).name)
        self.seed = check_seed("seed", seed)
        self.distribution = distribution
        self._adopt_variables()
        self._bits = BitsPerDim(tuple(shape))
        self.built = True

    def _adopt_variables(self):
        """Gives Keras the networks, and the distribution's other variables as the model's own."""
        networks = tf_private.keras_layers(self.distribution)
        for i, network in enumerate(networks):  # attributes, as TensorFlow does not look into lists
            setattr(self, f"network_{i}", network)
        raw = {id(tf_private.raw_variable(v)) for layer in networks for v in layer.variables}
        self.other_variables = [
            keras.Variable(v, trainable=v.trainable, dtype=v.dtype.name, name=f"variable_{i}")
            for i, v in enumerate(v for v in self.distribution.variables if id(v) not in raw)
        ]
        self._masks = DropoutMasks(networks)

    def call(
        self,
        inputs: Any,
        conditional_input: Any = None,
        training: bool | None = None,
        seed: Any = None,
    ) -> tf.Tensor:
        """Computes log_prob(x) in nats, [n].

        Args:
          inputs: x, [n, *event].
          conditional_input: [n, ...], if the distribution is conditioned.
          training: whether dropout is on.
          seed: stateless seed of a stochastic bound. Default None: drawn anew.
        """
        return forwarding.log_prob(self.distribution, inputs, conditional_input, seed, training)

    # Steps ---------------------------------------------------------------------------------------

    def train_step(self, batch: Any) -> dict[str, Any]:
        """Takes one step of the optimizer on one batch; returns the metrics."""
        x, condition = data.unpack(batch)
        step = tf_private.steps_taken(self.optimizer)
        self._masks.set(self.seed, step)
        self.distribution.trainable_variables  # noqa: B018  # lets tapes know what is frozen
        with tf.GradientTape() as tape:
            seed = stream_seed(self.seed, Stream.TRAINING, step)
            log_prob = self.call(x, condition, training=True, seed=seed)
            loss = self._loss(log_prob)
            scaled = self.optimizer.scale_loss(loss)
        variables = self.trainable_variables
        gradients = tape.gradient(scaled, [tf_private.raw_variable(v) for v in variables])
        self.optimizer.apply(gradients, variables)
        return self._update_metrics(loss, log_prob)

    def test_step(self, batch: Any) -> dict[str, Any]:
        """Evaluates one batch, with noise that is a function of its position in x."""
        x, condition = data.unpack(batch)
        seed = stream_seed(self.seed, Stream.EVALUATION, self._bits.count)
        log_prob = self.call(x, condition, training=False, seed=seed)
        return self._update_metrics(self._loss(log_prob), log_prob)

    def predict_step(self, batch: Any) -> tf.Tensor:
        """Computes log_prob of one batch in nats; all batches get the same noise."""
        x, condition = data.unpack(batch)
        return self.call(x, condition, seed=stream_seed(self.seed, Stream.EVALUATION, 0))

    def _loss(self, log_prob):
        loss = tf.reduce_mean(bits_per_dim(log_prob, self.distribution.event_shape))
        return loss + sum(tf.cast(extra, loss.dtype) for extra in self.losses)

    def _update_metrics(self, loss, log_prob):
        for metric in self.metrics:
            if metric is self._bits:
                metric.update_state(log_prob)
            elif metric.name == "loss":
                metric.update_state(loss, sample_weight=tf.shape(log_prob)[0])
        return self.get_metrics_result()

    # Keras' methods ------------------------------------------------------------------------------

    def compile(self, optimizer: Any, **kwargs: Any) -> None:
        """Sets the optimizer.

        Args:
          optimizer: a Keras optimizer, or its name.
          **kwargs: `jit_compile`, `run_eagerly`, `steps_per_execution`, as in Keras. By default
            ("auto") Keras compiles on GPUs only.

        Raises:
          TypeError: if `loss`, `metrics` or the like is given; the loss is always -log_prob.
        """
        taken = {"jit_compile", "run_eagerly", "steps_per_execution"}
        if set(kwargs) - taken:
            raise TypeError(
                f"compile: expected keyword arguments among {sorted(taken)}, as the loss is "
                f"-log_prob, got {sorted(set(kwargs) - taken)}."
            )
        super().compile(optimizer=optimizer, **kwargs)
        if not self.optimizer.built:  # a file's optimizer state needs variables to go to
            self.optimizer.build(self.trainable_variables)
        self._averages.finish()

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
        conditional_input: Any = None,
        callbacks: Any = None,
        validation_data: Any = None,
        validation_split: float = 0.0,
        shuffle: bool = True,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Trains the distribution; see the class and `keras.Model.fit`.

        Args:
          x: array [n, *event], or a dataset of batches.
          y: `conditional_input`, passed by position. Default None.
          batch_size: rows per batch of an array. Default 32.
          conditional_input: array [n, ...], if x is an array and the distribution is conditioned.
          callbacks: as in Keras.
          validation_data: x, (x, conditional_input) or a dataset.
          validation_split: the fraction of the arrays' rows, taken from the end, to validate on if
            there are no validation_data. Default 0.
          shuffle: whether arrays get a new order in each epoch. Default True.
          **kwargs: `epochs`, `verbose`, `initial_epoch`, ..., as in Keras.

        Returns: Keras' History, with 'loss' and 'bits_per_dim', and 'val_' of each.

        Raises:
          TypeError, ValueError: if the data do not fit the distribution, before any step.
        """
        tf_private.assert_compiled(self, "fit")
        data.refuse_weights("fit", kwargs)
        x, condition = data.pair(x, y, conditional_input)
        if validation_split and validation_data is None:
            x, condition, validation_data = data.split(x, condition, validation_split)
        batches = self._batches(x, condition, batch_size, shuffle)
        validation_size = kwargs.pop("validation_batch_size", None) or batch_size
        if validation_data is not None:
            validation_data = self._batches(*data.unpack(validation_data), validation_size)
        if isinstance(callbacks, keras.callbacks.CallbackList):
            raise TypeError("callbacks: expected a list of callbacks, got a CallbackList.")
        callbacks = tf.nest.flatten(callbacks) if callbacks is not None else []
        if any(isinstance(c, keras.callbacks.SwapEMAWeights) for c in callbacks):
            raise ValueError(
                "callbacks: expected no SwapEMAWeights, as DensityModel itself validates and saves "
                "with the averages."
            )
        before = self._steps()

        def begin(_):  # last, after callbacks that restore weights
            self._averages.start_training()
            if isinstance(batches, data.ArrayBatches) and self._steps() == before:
                batches.skipped = -before % batches.num_batches  # earlier ones were another fit's

        def end(_):  # first, before callbacks set weights: Keras has put in the averages
            self._averages.finish()

        first = keras.callbacks.LambdaCallback(on_train_end=end)
        last = keras.callbacks.LambdaCallback(on_train_begin=begin)
        return super().fit(
            batches,
            callbacks=[first, *callbacks, last],
            validation_data=validation_data,
            shuffle=False,
            **kwargs,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        *,
        conditional_input: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Computes the mean loss and bits per dimension, with fixed noise; see `fit` for the data.

        Other arguments are those of `keras.Model.evaluate`.
        """
        # Keras' own fit passes sample_weight=None.
        data.refuse_weights("evaluate", {k for k, v in kwargs.items() if v is not None})
        kwargs.pop("sample_weight", None)
        if not kwargs.get(tf_private.CACHED_EVALUATION):
            tf_private.assert_compiled(self, "evaluate")
            x = self._batches(*data.pair(x, y, conditional_input), batch_size)
            batch_size = None
        with self._averages.in_weights():
            return super().evaluate(x, batch_size=batch_size, **kwargs)

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        *,
        conditional_input: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Computes log_prob of each row of x, in nats, as an array; see `fit` for the data."""
        x = self._batches(*data.pair(x, None, conditional_input), batch_size)
        with self._averages.in_weights():
            return super().predict(x, **kwargs)

    def train_on_batch(
        self, x: Any, y: Any = None, *, conditional_input: Any = None, **kwargs: Any
    ) -> Any:
        """Takes one step of the optimizer on arrays."""
        tf_private.assert_compiled(self, "train_on_batch")
        x, *rest = data.ArrayBatches(self.distribution, *data.pair(x, y, conditional_input))[0]
        self._averages.start_training()
        return super().train_on_batch(x, *rest, **kwargs)

    def _batches(self, x, condition, batch_size, shuffle=False):
        return data.batches(
            self.distribution,
            x,
            condition,
            _BATCH_SIZE if batch_size is None else batch_size,
            shuffle,
            self.seed,
            position=self._steps if shuffle else lambda: 0,
        )

    def _steps(self) -> int:
        return int(tf_private.steps_taken(self.optimizer))

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Raises NotImplementedError: Keras cannot write a TFP distribution as a config."""
        raise NotImplementedError(
            "DensityModel.save: expected save_weights(path), to load into a model made by the same "
            "code, or tfp_ar.export_saved_model(model.distribution, directory), which needs no "
            "code. In ModelCheckpoint, save_weights_only=True."
        )


class DropoutMasks:
    """Setter of the states of the seed generators in Keras layers.

    Keras draws each mask from a counter, which it does not save: resumed training would have other
    masks.

    Args:
      layers: built Keras layers.
    """

    def __init__(self, layers: Iterable[keras.Layer]):
        self._states = tuple(state for layer in layers for state in random_states(layer))

    def set(self, seed: int, step: Any) -> None:
        """Makes the masks drawn next a function of `seed` and `step`, an integer tensor."""
        counter = tf.cast(step, tf.int64) * _MASKS_PER_STEP % _SEEDS
        for i, state in enumerate(self._states):
            # With one seed for all, the masks of all blocks would be the same.
            state.assign(tf.cast(tf.stack([(seed + i) % _SEEDS, counter]), state.dtype))
