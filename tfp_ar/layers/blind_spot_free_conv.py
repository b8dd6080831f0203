"""The masked convolution without a blind spot, as a vertical and a horizontal stack."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from tfp_ar.internal import checks
from tfp_ar.layers import masks


@keras.saving.register_keras_serializable(package="tfp_ar")
class BlindSpotFreeConv2D(keras.layers.Layer):
    """Masked convolution without a blind spot: v sees the rows above, h the rest of the past.

    The classical layer has one map, a masked kernel and a blind spot:

        h' = conv(mask * w, h)

    This layer has two maps, v and h, and kernels that have only the taps that are seen:

        v' = conv(w_v over the rows up to and including this one, v)
        h' = conv(w_h over the columns up to this one, h) + v' @ link

    v is one row late. In the first layer (type A) w_v has only the rows above this one, so v' at
    (r, c) depends only on rows before r, and this holds through all layers; w_h has only the
    columns before this one. Hence h' at (r, c) depends only on pixels before (r, c) in raster
    order, and on all of them once the stack is deep enough: v spreads to both sides, and h takes
    from v, at every pixel, what v has seen of the rows above.

    For F channels in and out and a kernel of k x k the classical layer has (k^2 + 1) / 2 * F^2
    weights that are not masked (type B). This layer has (k + 1) / 2 * k * F^2 in v,
    (k + 1) / 2 * F^2 in h, and F^2 in the 1x1 link: for k = 3, 9 F^2 instead of 5 F^2.

    Args:
      filters: channels of v' and of h'.
      kernel_size: an odd integer, or a pair of them (rows, columns); at least 3 with type A.
      mask_type: 'A' in the first layer, where v and h are both the image, or 'B' after it. Default
        'B'.
      channel_groups: number of groups of channels of h, contiguous and in order. Within a pixel a
        group sees the groups before it and, with type B, itself. v needs no groups, as it sees only
        earlier rows. Default 1.
      dilation_rate: distance between taps, an integer. Type A takes only 1: a first layer that
        skips the nearest pixels would lose them for good. Default 1.
      use_bias: whether v' and h' have biases. Default True.
      kernel_initializer: initializer of the three kernels. If it has an integer seed, the second
        and the third kernel get seeds derived from it, so that the kernels start different.
      bias_initializer: initializer of the biases, which get seeds in the same way.
      kernel_regularizer: regularizer of the three kernels. Default None.
      **kwargs: `name`, `dtype`, `trainable`.

    Call arguments: v and h, [B, H, W, channels] each.

    Returns: the pair (v' [B, H, W, filters], h' [B, H, W, filters]).

    Raises:
      TypeError, ValueError: if a size is not positive or not odd, `mask_type` is unknown, the
        channels are not divisible by `channel_groups`, or v and h differ in batch, height or width.

    References:
      A. van den Oord et al., Conditional image generation with PixelCNN decoders, arXiv:1606.05328,
        2016, section 2.2.

    >>> x = keras.ops.ones([1, 3, 3, 1])
    >>> conv = BlindSpotFreeConv2D(1, kernel_size=3, mask_type="A", kernel_initializer="ones")
    >>> v, h = conv(x, x)
    >>> print(keras.ops.convert_to_numpy(v)[0, :, :, 0])  # three pixels of the row above
    [[0. 0. 0.]
     [2. 3. 2.]
     [2. 3. 2.]]
    >>> print(keras.ops.convert_to_numpy(h)[0, :, :, 0])  # and the pixel before
    [[0. 1. 1.]
     [2. 4. 3.]
     [2. 4. 3.]]
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        mask_type: str = "B",
        channel_groups: int = 1,
        dilation_rate: int = 1,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = checks.positive_int("filters", filters)
        self.kernel_size = checks.odd_pair("kernel_size", kernel_size)
        self.mask_type = checks.one_of("mask_type", mask_type, masks.MASK_TYPES)
        self.channel_groups = checks.positive_int("channel_groups", channel_groups)
        checks.multiple("filters", self.filters, self.channel_groups, "channel_groups")
        self.dilation_rate = checks.positive_int("dilation_rate", dilation_rate)
        if mask_type == "A" and min(self.kernel_size) < 3:
            raise ValueError(
                "kernel_size: expected at least 3 with mask_type 'A', which sees nothing of its "
                f"own row and column, got {kernel_size!r}."
            )
        if mask_type == "A" and self.dilation_rate != 1:
            raise ValueError(
                "dilation_rate: expected 1 with mask_type 'A', as no later layer would see the "
                f"pixels left out, got {dilation_rate!r}."
            )
        self.use_bias = bool(use_bias)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.vertical_bias = self.horizontal_bias = None

    @property
    def rows(self) -> np.ndarray:
        """Offsets of the rows of w_v, in pixels: 0 or negative, farthest first."""
        return masks.rows_above(self.kernel_size[0], self.mask_type) * self.dilation_rate

    @property
    def columns(self) -> np.ndarray:
        """Offsets of the columns of w_h, in pixels: 0 or negative, farthest first."""
        # With groups, type A also sees the earlier groups of the pixel itself.
        own = "B" if self.channel_groups > 1 else self.mask_type
        return masks.columns_before(self.kernel_size[1], own) * self.dilation_rate

    def build(self, v_shape: Sequence, h_shape: Sequence) -> None:
        """Makes the kernels for v and h [B, H, W, channels]."""
        _check_maps(v_shape, h_shape)
        checks.multiple("channels of h", h_shape[-1], self.channel_groups, "channel_groups")
        shapes = {
            "vertical": (len(self.rows), self.kernel_size[1], v_shape[-1], self.filters),
            "horizontal": (1, len(self.columns), h_shape[-1], self.filters),
            "link": (self.filters, self.filters),
        }
        self.vertical_kernel, self.horizontal_kernel, self.link_kernel = (
            self.add_weight(
                name=f"{name}_kernel",
                shape=shape,
                initializer=_copy(self.kernel_initializer, i),
                regularizer=self.kernel_regularizer,
            )
            for i, (name, shape) in enumerate(shapes.items())
        )
        if self.use_bias:
            self.vertical_bias, self.horizontal_bias = (
                self.add_weight(
                    name=f"{name}_bias",
                    shape=(self.filters,),
                    initializer=_copy(self.bias_initializer, i),
                )
                for i, name in enumerate(("vertical", "horizontal"))
            )
        self.built = True

    def masked_horizontal_kernel(self) -> Any:
        """Returns w_h [1, taps, channels, filters], its last tap masked by channel groups."""
        kernel = ops.convert_to_tensor(self.horizontal_kernel)
        if self.channel_groups == 1:
            return kernel
        channels = kernel.shape[-2]
        groups = [masks.group_ranks(n, self.channel_groups) for n in (channels, self.filters)]
        own = masks.allowed(groups[0][:, np.newaxis], groups[1], self.mask_type)
        before = np.ones([len(self.columns) - 1, channels, self.filters], bool)
        mask = np.concatenate([before, own[np.newaxis]])[np.newaxis]
        return ops.where(mask, kernel, ops.zeros_like(kernel))

    def call(self, v: Any, h: Any) -> tuple[Any, Any]:
        """Returns (v', h')."""
        _check_maps(v.shape, h.shape)
        side = self.kernel_size[1] // 2 * self.dilation_rate
        v = self._conv(v, self.vertical_kernel, self.rows, (-side, side))
        if self.use_bias:
            v = v + self.vertical_bias
        h = self._conv(h, self.masked_horizontal_kernel(), (0, 0), self.columns)
        h = h + ops.matmul(v, self.link_kernel)
        return v, h + self.horizontal_bias if self.use_bias else h

    def _conv(self, x, kernel, rows, columns):
        """Convolves x with taps at these offsets; only the first and last of them are read."""
        before = [-int(offsets[0]) for offsets in (rows, columns)]
        after = [int(offsets[-1]) for offsets in (rows, columns)]
        # Taps that end before this row (or column) do not read the last one. Without the cut below,
        # the output would be one row (or column) too long.
        late = [max(-number, 0) for number in after]
        padding = [(b, max(a, 0)) for b, a in zip(before, after, strict=True)]
        x = ops.pad(x, [[0, 0], *padding, [0, 0]])
        if any(late):
            x = x[:, : -late[0] or None, : -late[1] or None]
        return ops.conv(
            x,
            kernel,
            padding="valid",
            dilation_rate=self.dilation_rate,
            data_format="channels_last",
        )

    def compute_output_shape(self, v_shape: Sequence, h_shape: Sequence) -> tuple[tuple, tuple]:
        """Returns the shapes of v' and h'."""
        _check_maps(v_shape, h_shape)
        return (*v_shape[:-1], self.filters), (*h_shape[:-1], self.filters)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "mask_type": self.mask_type,
            "channel_groups": self.channel_groups,
            "dilation_rate": self.dilation_rate,
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }


def _check_maps(v_shape, h_shape):
    """Raises a ValueError if the shapes are known not to be [B, H, W, C] with equal B, H and W."""
    v_shape, h_shape = list(v_shape), list(h_shape)
    pairs = zip(v_shape[:3], h_shape[:3], strict=False)
    differ = any(None not in pair and pair[0] != pair[1] for pair in pairs)
    if differ or len(v_shape) != 4 or len(h_shape) != 4:  # sizes of 1 would broadcast
        raise ValueError(
            "v, h: expected two maps of one batch, height and width [B, H, W, C], got "
            f"{v_shape} and {h_shape}."
        )


def _copy(initializer, number):
    """Returns another initializer of the same kind, as one used twice gives equal weights."""
    config = initializer.get_config() if hasattr(initializer, "clone") else {"seed": initializer}
    seed = config.get("seed")
    if seed is not None and not isinstance(seed, int):
        return initializer  # a function, or one with a SeedGenerator, draws new numbers anyway
    if seed is None or number == 0:
        return initializer.clone()
    # Not seed + number: that is often the next layer's seed, whose weights would start equal.
    mixed = np.random.SeedSequence([seed % 2**32, number]).generate_state(1)[0]
    return type(initializer).from_config({**config, "seed": int(mixed)})
