"""Causal dilated convolution over time."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from tfp_ar.internal import checks


@keras.saving.register_keras_serializable(package="tfp_ar")
class CausalConv1D(keras.layers.Layer):
    """Dilated convolution that looks only back in time.

        y[t] = bias + sum_j x[t - exclusive - (kernel_size - 1 - j) * dilation_rate] @ kernel[j]

    with x[t] = 0 for t < 0, so that y[t] depends on x[0..t], or on x[0..t-1] if `exclusive`.

    The taps are concatenated and multiplied by the kernel at once: XLA is fast at one matrix
    product, on CPUs in particular, and slow at dilated convolutions.

    Args:
      filters: number of output channels.
      kernel_size: number of taps; the last one is the newest.
      dilation_rate: time steps between taps. Default 1.
      exclusive: if True, the newest tap is x[t-1]: the type A convolution that the first layer of
        an autoregressive network needs. Default False.
      use_bias: whether to add a bias. Default True.
      kernel_initializer: initializer of the kernel [kernel_size, channels, filters].
      bias_initializer: initializer of the bias [filters].
      kernel_regularizer: regularizer of the kernel. Default None.
      **kwargs: `name`, `dtype`, `trainable`, as for any Keras layer.

    Input shape: [..., L, channels]. Output shape: [..., L, filters].

    Raises:
      TypeError, ValueError: if `filters`, `kernel_size` or `dilation_rate` is not a positive
        integer.

    References:
      A. van den Oord et al., WaveNet: a generative model for raw audio, arXiv:1609.03499, 2016.

    >>> conv = CausalConv1D(filters=1, kernel_size=2, dilation_rate=2, kernel_initializer="ones")
    >>> x = keras.ops.reshape(keras.ops.arange(5, dtype="float32"), [1, 5, 1])
    >>> print(keras.ops.convert_to_numpy(conv(x))[0, :, 0])  # x[t] + x[t - 2]
    [0. 1. 2. 4. 6.]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int,
        dilation_rate: int = 1,
        exclusive: bool = False,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.kernel_size = checks.positive_int("kernel_size", kernel_size)
        self.dilation_rate = checks.positive_int("dilation_rate", dilation_rate)
        self.exclusive = bool(exclusive)
        # The number of steps that each tap of the kernel looks back, oldest first.
        self.delays = tuple(
            j * self.dilation_rate + int(self.exclusive) for j in reversed(range(self.kernel_size))
        )
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias = None

    def build(self, input_shape: Sequence) -> None:
        """Makes the kernel and bias for inputs of shape [..., L, channels]."""
        if len(input_shape) < 2 or input_shape[-1] is None:
            raise ValueError(f"x: expected shape [..., L, channels], got {list(input_shape)}.")
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, input_shape[-1], self.filters),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        if self.use_bias:
            self.bias = self.add_weight(
                name="bias", shape=(self.filters,), initializer=self.bias_initializer
            )
        self.built = True

    def call(self, x: Any) -> Any:
        """Convolves x [..., L, channels] to [..., L, filters]."""
        length, longest = ops.shape(x)[-2], self.delays[0]
        # Padded, then sliced: slices of x alone are wrong for sequences shorter than a delay.
        past = ops.pad(x, [[0, 0]] * (len(x.shape) - 2) + [[longest, 0], [0, 0]]) if longest else x
        taps = []
        for steps in self.delays:
            start = longest - steps
            taps.append(past[..., start : start + length, :] if steps else x)
        y = ops.matmul(ops.concatenate(taps, -1), ops.reshape(self.kernel, [-1, self.filters]))
        return y + self.bias if self.use_bias else y

    def compute_output_shape(self, input_shape: Sequence) -> tuple:
        """Returns the input's shape with `filters` channels."""
        return (*input_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation_rate": self.dilation_rate,
            "exclusive": self.exclusive,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }
