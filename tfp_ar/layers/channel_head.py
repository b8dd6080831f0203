"""The head that turns features of the past into parameters, channel after channel."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers import masks


@keras.saving.register_keras_serializable(package="tfp_ar")
class ChannelHead(keras.layers.Layer):
    """Parameters of each channel from features of the past and from the channels before it.

        a[t, c]      = f[t] @ W[:, c] + b[c] + sum_{c' < c} x[t, c'] V[c', c]
        params[t, c] = relu(a[t, c]) @ U[c] + d[c]

    If f[t] depends only on x[0..t-1], params[t, c] depends only on x[0..t-1] and x[t, 0..c-1]. The
    condition c' < c is a constant mask inside the call, so no optimizer, weight average or
    assignment can undo it.

    Args:
      num_params: parameters per variable.
      hidden_channels: length of a[t, c].
      output_initializer: initializer of U. With zeros, the default, all parameters start at 0,
        where affine flows are the identity.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments: features [..., L, F] and x [..., L, C].

    Returns: parameters [..., L, C, num_params].

    Raises:
      TypeError, ValueError: if a size is not a positive integer.

    >>> head = ChannelHead(num_params=2, hidden_channels=8)
    >>> head(keras.ops.ones([1, 5, 16]), keras.ops.ones([1, 5, 3])).shape
    TensorShape([1, 5, 3, 2])
    """

    def __init__(
        self,
        num_params: int,
        hidden_channels: int,
        output_initializer: Any = "zeros",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_params = checks.positive_int("num_params", num_params)
        self.hidden_channels = checks.positive_int("hidden_channels", hidden_channels)
        self.output_initializer = keras.initializers.get(output_initializer)
        self.channel_kernel: Any = None

    def build(self, features_shape: Sequence, x_shape: Sequence) -> None:
        """Makes the weights for features [..., L, F] and x [..., L, C]."""
        channels, hidden = x_shape[-1], self.hidden_channels
        self.feature_kernel = self.add_weight(
            name="feature_kernel", shape=(features_shape[-1], channels * hidden)
        )
        self.feature_bias = self.add_weight(
            name="feature_bias", shape=(channels, hidden), initializer="zeros"
        )
        if channels > 1:  # a single channel has none before it
            self.channel_kernel = self.add_weight(
                name="channel_kernel", shape=(channels, channels, hidden)
            )
        self.output_kernel = self.add_weight(
            name="output_kernel",
            shape=(channels, hidden, self.num_params),
            initializer=self.output_initializer,
        )
        self.output_bias = self.add_weight(
            name="output_bias", shape=(channels, self.num_params), initializer="zeros"
        )
        self.built = True

    def hidden(self, features: Any) -> Any:
        """Returns the part of a that the features give: [..., L, C, hidden_channels]."""
        a = ops.matmul(features, self.feature_kernel)
        return ops.reshape(a, (*ops.shape(a)[:-1], *self.feature_bias.shape)) + self.feature_bias

    def masked_channel_kernel(self) -> Any:
        """Returns V [C, C, hidden_channels], zero unless the first channel is before the second."""
        kernel = ops.convert_to_tensor(self.channel_kernel)
        channels = np.arange(kernel.shape[0])
        before = masks.allowed(channels[:, np.newaxis], channels, "A")[..., np.newaxis]
        # A choice, not a product: an infinite or NaN weight behind the mask stays behind it.
        return ops.where(before, kernel, ops.zeros_like(kernel))

    def call(self, features: Any, x: Any) -> Any:
        """Returns parameters [..., L, C, num_params]."""
        a = self.hidden(features)
        if self.channel_kernel is not None:
            kernel = self.masked_channel_kernel()
            before = ops.matmul(x, ops.reshape(kernel, [kernel.shape[0], -1]))
            a = a + ops.reshape(before, ops.shape(a))
        # One letter per axis: TensorFlow 2.21 gives wrong numbers for an einsum with "..." in
        # float16 on processors that have float16 instructions (oneDNN, AVX512_FP16).
        lead = "abdefg"[: len(a.shape) - 2]
        equation = f"{lead}ch,chp->{lead}cp"
        return ops.einsum(equation, ops.relu(a), self.output_kernel) + self.output_bias

    def compute_output_shape(self, features_shape: Sequence, x_shape: Sequence) -> tuple:
        """Returns the shape of the parameters."""
        return (*x_shape, self.num_params)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "num_params": self.num_params,
            "hidden_channels": self.hidden_channels,
            "output_initializer": keras.initializers.serialize(self.output_initializer),
        }
