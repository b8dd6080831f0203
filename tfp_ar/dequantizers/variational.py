"""Learned noise: a flow, given x, from uniform noise to u."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors import ARFlowBijector, Bounded
from tfp_ar.conditioning import walk
from tfp_ar.conditioning.forwarding import forwarded_kwargs, given_kwargs, taken_kwargs
from tfp_ar.dequantizers.dequantizer import Dequantizer
from tfp_ar.dequantizers.uniform import Uniform, keep_inside
from tfp_ar.internal import checks, shapes
from tfp_ar.internal.variables import RawVariables, random_states
from tfp_ar.networks import GatedPixelCNN, WaveNet
from tfp_ar.networks.wavenet import default_dilations

tfb = tfp.bijectors

_UNIFORM = Uniform()

# Noise depends on nearby variables, so that a short reach is enough.
_NUM_LAYERS = 3  # of WaveNet, dilations 1, 2, 4: 8 steps; of GatedPixelCNN: 3 pixels to each side
_ENCODER_DILATIONS = (1, 2)  # 3 steps or pixels to each side


class Variational(Dequantizer):
    """Noise u from a flow given x: the variational dequantization of Ho et al.

        e = logit(v),    v uniform in (0, 1)^d         (the noise of `Uniform`, bit for bit)
        z = bijector.forward(e; encoder(x scaled to [-1, 1]))
        y = x + u,       u = sigmoid(z)
        log q(u | x) = sum_i log s(e[i]) - sum_i log s(z[i]) - log|det dz/de|

    with s the slope of the sigmoid. Of all noise, q(u | x) proportional to p(x + u) gives the best
    bound from one sample: log P(x) itself. q is trained together with p, by the same loss: u is a
    function of v and the weights, so that gradients of the bound reach them. The identity is the
    uniform distribution, with log q = 0; training starts there if the last layers of the networks
    start at zero, as ours do.

    `Variational.from_event_shape` makes a small bijector and encoder. To make them yourself:

        network = WaveNet([L], conditional_shape=[L, 32])
        encoder = keras.Sequential([keras.layers.Conv1D(32, 5, padding="same", activation="relu")])
        Variational(tfb.Invert(ARFlowBijector(network)), 0, 256, encoder)

    Args:
      bijector: a tfb.Bijector over events of x's shape that holds ARFlowBijectors with a
        `conditional_shape`. The best are `tfb.Invert(ARFlowBijector(network))` or a
        `tfp_ar.bijectors.Chain` of these, whose forward takes one parallel pass per flow. (The
        forward of ARFlowBijector itself is a sequential pass.)
      low: the lower end of the range of x, a finite number; only used to scale x.
      high: the upper end, as in `tfp_ar.bijectors.Bounded`: 256 for the levels 0..255.
      encoder: a Keras layer from x as a map, [B, L, C], [B, H, W, C], or [B, L, 1] for events [L],
        to the `conditional_input` of the flows. Through it, the noise of a variable depends on the
        variable's neighbours on all sides. Built here if it is not. Default None: the flows are
        conditioned on the map itself.

    u is clipped to the range in which `Uniform` draws it, in (0, 1) with floor(x + u) = x; log q is
    that of u before clipping. Only a u that is closer to 0 or 1 than half of 2^-k is moved, with k
    the bits of `Uniform`: in float32, closer than 2^-16 at x = 255 and 2^-8 at x = 65535.

    The noise is conditioned on x alone: the `conditional_input` of the distribution does not reach
    q.

    Cost: one pass of the encoder per x and one of the flows per importance sample, forward and, in
    training, backward. Sampling x does not use q.

    Raises:
      TypeError: if an argument is of the wrong kind.
      ValueError: if the range is invalid, the flows are not conditioned or expect different shapes,
        or the encoder does not return what they are conditioned on.

    References:
      J. Ho et al., Flow++: improving flow-based generative models with variational dequantization
        and architecture design, arXiv:1902.00275, 2019, section 3.1.
      E. Hoogeboom et al., Learning discrete distributions by dequantization, arXiv:2001.11235,
        2020 (with several importance samples).

    >>> noise = Variational.from_event_shape([4], low=0, high=17, width=8)
    >>> base = tfd.Sample(tfd.Normal(0.0, 1.0), [4])
    >>> flow = ARFlowBijector(tfp_ar.networks.WaveNet([4], residual_channels=8))
    >>> flow = tfd.TransformedDistribution(base, tfp_ar.bijectors.Chain([Bounded(0, 17), flow]))
    >>> x = [0.0, 16.0, 3.0, 8.0]
    >>> learned = tfp_ar.Dequantized(flow, noise).log_prob(x, seed=[1, 2])
    >>> uniform = tfp_ar.Dequantized(flow).log_prob(x, seed=[1, 2])
    >>> print(f"{learned - uniform:.4f}")  # before training
    0.0000
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        low: float,
        high: float,
        encoder: keras.Layer | None = None,
    ):
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(
                "bijector: expected a tfb.Bijector such as tfb.Invert(ARFlowBijector(network)), "
                f"got {bijector!r}."
            )
        if encoder is not None and not isinstance(encoder, keras.Layer):
            raise TypeError(f"encoder: expected a Keras layer or None, got {encoder!r}.")
        super().__init__()
        self._range = Bounded(low, high)  # it checks its arguments
        self._unit = Bounded(0.0, 1.0)  # the sigmoid, safe at its ends
        self._bijector = bijector
        self._encoder = encoder
        self._event_shape, self._conditioning, self._flow_dtype = _of_flows(bijector)
        self._map_shape = map_shape(self._event_shape)
        self._check_encoder()
        # Without this, tf.Module would not find the variables of a Keras layer.
        self._encoder_variables = () if encoder is None else RawVariables(encoder)

    @classmethod
    def from_event_shape(
        cls,
        event_shape: Sequence[int],
        low: float,
        high: float,
        width: int = 32,
        dropout: float = 0.0,
        seed: int | None = None,
        dtype: Any = None,
    ) -> "Variational":
        """Returns a small dequantizer for events of a shape, uniform before training.

        It has one inverse autoregressive flow, on a WaveNet for [L] and [L, C] and on a
        GatedPixelCNN for [H, W, C], and an encoder of three convolutions that see all sides.

        Args:
          event_shape: the shape of one x: [L], [L, C] or [H, W, C].
          low: the lower end of the range of x.
          high: the upper end.
          width: the channels of all layers. Default 32.
          dropout: the dropout rate of the flow's network. Default 0.
          seed: seed of the dropout. Default None.
          dtype: dtype or policy of the layers. Default None: Keras' own.

        Raises:
          TypeError, ValueError: if an argument is of the wrong kind or out of range.
        """
        event_shape = checks.positive_ints("event_shape", event_shape)
        if len(event_shape) > 3:
            raise ValueError(
                f"event_shape: expected [L], [L, C] or [H, W, C], got {list(event_shape)}."
            )
        width = checks.positive_int("width", width)
        bijector = _make_noise_flow(event_shape, width, dropout, seed, dtype)
        return cls(bijector, low, high, _make_encoder(map_shape(event_shape), width, dtype))

    @property
    def bijector(self) -> tfb.Bijector:
        """The flow from e to z."""
        return self._bijector

    @property
    def encoder(self) -> keras.Layer | None:
        """The layer from x to the flow's conditioning, or None."""
        return self._encoder

    @property
    def takes_kwargs(self) -> dict[str, bool]:
        """The keyword argument `training` of `dequantize`: see `tfp_ar.conditioning`."""
        has_dropout = self._encoder is not None and bool(random_states(self._encoder))
        return {"training": has_dropout or taken_kwargs(self._bijector).get("training", False)}

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return self._event_shape

    def dequantize(
        self, x: tf.Tensor, num_samples: int, seed: Any, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Draws x + u several times, as `Dequantizer.dequantize`; log q is [K, ...].

        Args:
          x: integers as floats, [..., *event_shape].
          num_samples: the number K of draws, an int.
          seed: stateless seed, an int32 tensor [2].
          training: whether dropout is on. Default None.
        """
        shapes.check_event_shape("x", shapes.static_shape(x), self._event_shape)
        u, log_q = self.transform(x, _UNIFORM.noise(x, num_samples, seed), training)
        return x + u, log_q

    def transform(
        self, x: tf.Tensor, v: tf.Tensor, training: bool | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Maps v to u, given x.

        Args:
          x: integers as floats, [..., *event_shape].
          v: numbers in (0, 1), [K, ..., *event_shape], of the dtype of x.
          training: whether dropout is on. Default None.

        Returns: u like v, and log q(u | x) [K, ...].
        """
        ndims = len(self._event_shape)
        # q's networks may be of another dtype than p's.
        e = tf.cast(self._unit.inverse(v), self._flow_dtype)
        kwargs = {"conditional_input": self.condition(x, training), "training": training}
        kwargs = forwarded_kwargs(self._bijector, given_kwargs(kwargs))
        z = self._bijector.forward(e, **kwargs)
        log_det = self._bijector.forward_log_det_jacobian(e, event_ndims=ndims, **kwargs)
        e, z = tf.cast(e, x.dtype), tf.cast(z, x.dtype)
        # Log slopes stay finite where the sigmoid has rounded to 0 or 1.
        slopes = [self._unit.forward_log_det_jacobian(value, event_ndims=ndims) for value in (e, z)]
        log_q = slopes[0] - slopes[1] - tf.cast(log_det, x.dtype)
        return keep_inside(self._unit.forward(z), x), log_q

    def condition(self, x: tf.Tensor, training: bool | None = None) -> Any:
        """Computes the flows' `conditional_input` for integers x [..., *event_shape] as floats."""
        low, high = self._range.low, self._range.high
        # The middle of each integer's cell; the ends of the range become -1 and 1.
        scaled = (x + (0.5 - low)) * (2.0 / (high - low)) - 1.0
        if len(self._map_shape) > len(self._event_shape):
            scaled = scaled[..., tf.newaxis]
        if self._encoder is None:
            return scaled
        ndims = len(self._map_shape)
        leading = shapes.leading(scaled, ndims)
        (rows,) = shapes.flatten([scaled], [ndims], leading)
        conditions = self._conditioning.parse(self._encoder(rows, training=training))
        return self._conditioning.join([shapes.unflatten(c, leading) for c in conditions.values()])

    def _check_encoder(self):
        example = tf.zeros([1, *self._map_shape], self._flow_dtype)
        given = "x itself" if self._encoder is None else f"what layer {self._encoder.name!r} gives"
        if self._encoder is not None:
            try:
                example = self._encoder(example)
            except Exception as error:
                shown = ", ".join(["B", *map(str, self._map_shape)])
                raise ValueError(
                    f"encoder: layer {self._encoder.name!r} could not be built for x of shape "
                    f"[{shown}]: {error}"
                ) from error
        try:
            self._conditioning.parse_batch(example, 1)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"encoder: {given} is not what the flows are conditioned on: {error}"
            ) from error


def map_shape(event_shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape of one x with its channels last: [L] gets one channel."""
    return (*event_shape, 1) if len(event_shape) == 1 else tuple(event_shape)


def _of_flows(bijector):
    """Returns event shape, conditioning and dtype of the flows in a bijector.

    Raises:
      ValueError: if they do not agree, or no flow is conditioned.
    """
    found = walk.flows(bijector)
    conditioned = [f for f in found if f.network.conditioning and f.conditional_input is None]
    if not conditioned:
        raise ValueError(
            "bijector: expected flows on networks with a conditional_shape, as the noise would not "
            f"depend on x otherwise, got {bijector!r}."
        )
    for what, all_flows in (("event_shape", found), ("conditional_shape", conditioned)):
        shapes = [getattr(f, what) for f in all_flows]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError(f"bijector: expected flows of one {what}, got {shapes}.")
    first = conditioned[0]
    return first.event_shape, first.network.conditioning, first.dtype


def _make_noise_flow(event_shape, width, dropout=0.0, seed=None, dtype=None) -> tfb.Bijector:
    """Returns an inverse autoregressive flow, conditioned on a map of `width` channels."""
    settings = {
        "conditional_shape": [*event_shape[: _num_positions(event_shape)], width],
        "dropout": dropout,
        "seed": seed,
        "dtype": dtype,
    }
    if len(event_shape) == 3:
        network = GatedPixelCNN(event_shape, filters=width, num_layers=_NUM_LAYERS, **settings)
    else:
        dilations = default_dilations(event_shape[0], kernel_size=2)[:_NUM_LAYERS]
        network = WaveNet(event_shape, residual_channels=width, dilations=dilations, **settings)
    return tfb.Invert(ARFlowBijector(network, name="noise_flow"))


def _make_encoder(map_shape, width, dtype=None) -> keras.Layer:
    """Returns convolutions from a map of x, [*positions, C], to one of `width` channels."""
    convolution = keras.layers.Conv2D if len(map_shape) == 3 else keras.layers.Conv1D
    settings = {
        "filters": width,
        "padding": "same",
        "data_format": "channels_last",  # whatever Keras' default is
        "dtype": dtype,
    }
    layers = [
        convolution(kernel_size=3, dilation_rate=rate, activation="relu", **settings)
        for rate in _ENCODER_DILATIONS
    ]
    last = convolution(kernel_size=1, **settings)
    return keras.Sequential([*layers, last], name="encoder")


def _num_positions(event_shape) -> int:
    return max(len(event_shape) - 1, 1)
