"""The base of the two PixelCNNs."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
from keras import ops

from tfp_ar.conditioning.spec import GLOBAL, LOCAL
from tfp_ar.internal import checks
from tfp_ar.layers import ChannelHead
from tfp_ar.networks.autoregressive_network import AutoregressiveNetwork
from tfp_ar.networks.generation import raster_loop
from tfp_ar.networks.generation.steps import RasterSteps


class PixelNetwork(AutoregressiveNetwork):
    """Base of the networks over images [H, W, C]: arguments, features, head.

    A subclass makes one block of a stack in `_make_block`, builds all of them in `_build_blocks`,
    maps an image to features of the pixels before each pixel in `_features`, and names the class of
    its cached steps in `_make_steps`. The channels of a pixel follow each other in the head:
    `ChannelHead` lets each see those before it, without a pass of the whole stack per channel. The
    arguments are those of `GatedPixelCNN`.

    With dtype='mixed_bfloat16' all layers compute in bfloat16, including the head: the parameters
    are returned in float32 and have 8 significant bits. Flows and distributions compute with them
    in float32.
    """

    _make_steps: Callable[..., RasterSteps]

    def __init__(
        self,
        event_shape: Sequence[int],
        num_params: int = 2,
        filters: int = 32,
        num_layers: int = 7,
        kernel_size: int = 3,
        conditional_shape: Any = None,
        dilations: Sequence[int] | None = None,
        head_channels: int | None = None,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ):
        super().__init__(event_shape, num_params, conditional_shape, **kwargs)
        if len(self.event_shape) != 3:
            raise ValueError(f"event_shape: expected [H, W, C], got {list(self.event_shape)}.")
        self.filters = checks.positive_int("filters", filters)
        self.num_layers = checks.positive_int("num_layers", num_layers)
        self.kernel_size = checks.positive_int("kernel_size", kernel_size)
        if self.kernel_size < 3 or self.kernel_size % 2 == 0:
            raise ValueError(
                f"kernel_size: expected an odd integer of at least 3, got {kernel_size!r}."
            )
        self.dilations = (
            (1,) * self.num_layers
            if dilations is None
            else checks.positive_ints("dilations", dilations)
        )
        if len(self.dilations) != self.num_layers or self.dilations[0] != 1:
            raise ValueError(
                f"dilations: expected one for each of num_layers={self.num_layers} layers, the "
                f"first of them 1, got {dilations!r}."
            )
        self.head_channels = (
            self.filters
            if head_channels is None
            else checks.positive_int("head_channels", head_channels)
        )
        self.dropout = checks.fraction("dropout", dropout)
        self.seed = checks.optional_int("seed", seed)
        self.blocks = [
            self._make_block(
                i,
                dilation_rate=dilation,
                dropout=self.dropout,
                # with one seed, all blocks would drop the same units
                seed=None if self.seed is None else self.seed + i,
                mask_type="B" if i else "A",
                kernel_size=self.kernel_size,
                dtype=self.dtype_policy,
                name=f"block_{i}",
            )
            for i, dilation in enumerate(self.dilations)
        ]
        self.head = ChannelHead(
            self.num_params, self.head_channels, dtype=self.dtype_policy, name="head"
        )
        self.build((None, *self.event_shape))

    def _make_block(self, index, **settings):
        raise NotImplementedError(f"{type(self).__name__} must define _make_block(...).")

    def _build_blocks(self, image, conditions) -> int:
        """Builds the blocks for images of shape `image`; returns the number of features."""
        raise NotImplementedError(f"{type(self).__name__} must define _build_blocks(...).")

    def _features(self, x, **kwargs):
        """Returns features [B, H, W, F] of the pixels before each pixel."""
        raise NotImplementedError(f"{type(self).__name__} must define _features(x, ...).")

    # The constructor calls it, so Keras never passes the shapes of conditioning.
    def build(self, input_shape: Any = None) -> None:  # type: ignore[override]
        """Makes all variables; the constructor calls it."""
        if self.built:
            return
        image, shapes = (None, *self.event_shape), self.conditioning.shapes
        conditions = {
            f"{kind}_condition_shape": (None, *shapes[kind])
            for kind in (GLOBAL, LOCAL)
            if kind in shapes
        }
        features = self._build_blocks(image, conditions)
        self.head.build((*image[:-1], features), image)
        self.built = True

    @property
    def channels(self) -> int:
        """C, the number of variables per pixel."""
        return self.event_shape[2]

    def call(self, x: Any, conditional_input: Any = None, training: bool | None = None) -> Any:
        """Computes the parallel pass for x [B, H, W, C]."""
        conditions = self.conditioning.parse(conditional_input)
        features = self._features(
            x,
            global_condition=conditions.get(GLOBAL),
            local_condition=conditions.get(LOCAL),
            training=training,
        )
        return self.head(ops.relu(features), x)

    def generate(
        self,
        emit: Callable,
        batch_size: Any,
        conditional_input: Any = None,
        input_transform: Callable | None = None,
    ) -> tf.Tensor:
        """Runs the cached sequential pass; see `AutoregressiveNetwork.generate` for the arguments.

        Cost: H * W steps, which together do the arithmetic of one parallel pass.
        """
        return raster_loop.generate(
            self, self._make_steps, emit, batch_size, conditional_input, input_transform
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "num_layers": self.num_layers,
            "kernel_size": self.kernel_size,
            "dilations": self.dilations,
            "head_channels": self.head_channels,
            "dropout": self.dropout,
            "seed": self.seed,
        }
