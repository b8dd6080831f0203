"""The third part of docs/theory.md: the receptive fields of stacks of masked convolutions.

Closed forms are compared with the composition of the masks, step by step, as sets on an unbounded
image and as matrices inside an image, and with `receptive_field` of small networks. Steps are pairs
(row, column).
"""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.layers.reference import seen_at
from tests.networks.test_pixel_networks import composed
from tfp_ar import receptive_field
from tfp_ar.layers import BlindSpotFreeConv2D, MaskedConv2D, MaskedPixelBlock, masks

SIDES = [(1, 1), (1, 2), (2, 1)]  # a, b: kernels of 2a + 1 rows and 2b + 1 columns
each_side = pytest.mark.parametrize(["a", "b"], SIDES)


# Closed forms, as in the text -------------------------------------------------------------------


def rectangle(rows, columns):
    return set(itertools.product(rows, columns))


def sawtooth(n, a, b):
    """S_n of Theorem 3.2."""
    above = {(-r, c) for r in range(1, n * a + 1) for c in range(-n * b, b * min(r, n) + 1)}
    return above | rectangle([0], range(-n * b, 0))


def vertical(up, aside):
    """V of Theorem 3.5."""
    return rectangle(range(-up, 0), range(-aside, aside + 1))


def horizontal(up, aside):
    """H of Theorem 3.5."""
    return vertical(up, aside) | rectangle([0], range(-aside, 0))


# By definition ----------------------------------------------------------------------------------


def taps(a, b, mask_type, dilation=1):
    """The steps of a masked kernel, by the package's mask."""
    mask = masks.causal_mask((2 * a + 1, 2 * b + 1), mask_type)[:, :, 0, 0]
    return {(dilation * (int(r) - a), dilation * (int(c) - b)) for r, c in np.argwhere(mask)}


def stack_taps(a, b, mask_type, dilation=1):
    """The steps of v and of h in `BlindSpotFreeConv2D`, by the package's layer."""
    kernel_size = 2 * a + 1, 2 * b + 1
    conv = BlindSpotFreeConv2D(1, kernel_size, mask_type, dilation_rate=dilation)
    columns = [dilation * c for c in range(-b, b + 1)]
    return rectangle(conv.rows.tolist(), columns), rectangle([0], conv.columns.tolist())


def sums(first, second):
    """All sums of a step of each."""
    return {(r + i, c + j) for r, c in first for i, j in second}


def two_stacks(a, b, dilations):
    """(V, H) on an unbounded image, layer by layer."""
    v, of_h = stack_taps(a, b, "A")
    h = of_h | v
    for dilation in dilations[1:]:
        of_v, of_h = stack_taps(a, b, "B", dilation)
        v = sums(v, of_v)
        h = sums(h, of_h) | v
    return v, h


def inside(shape, steps):
    """Which pixels these steps lead to from each inside an image: bool [H * W, H * W]."""
    size = shape[0] * shape[1]
    seen = np.zeros([size, size], bool)
    for r, c in steps:
        seen |= seen_at(shape, [r], [c]).reshape([size, size])
    return seen


def classical_inside(shape, a, b, dilations):
    """What layers of these dilations, the first of them 1, see in an image, by paths inside it."""
    field = inside(shape, taps(a, b, "A"))
    for dilation in dilations[1:]:
        field = composed(inside(shape, taps(a, b, "B", dilation)), field)
    return field


def stacks_inside(shape, n, a, b):
    """The same of v and h: after each number of layers up to n."""
    first_v, first_h = (inside(shape, steps) for steps in stack_taps(a, b, "A"))
    of_v, of_h = (inside(shape, steps) for steps in stack_taps(a, b, "B"))
    v, fields = first_v, [(first_v, first_h | first_v)]
    for _ in range(n - 1):
        v = composed(of_v, v)
        fields.append((v, composed(of_h, fields[-1][1]) | v))
    return fields


def past(shape):
    """All pixels before each in raster order."""
    return np.tri(shape[0] * shape[1], k=-1) > 0


def field_of(steps, position, shape):
    """The pixels that these steps lead to from a position: bool [H, W]."""
    return inside(shape, steps).reshape([*shape, *shape])[position]


# Paths ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("residual", [False, True])
def test_a_path_of_single_taps(residual):
    """Lemma 3.1: weights at which the derivative along one path is not 0, as in the proof.

    Without residuals it is 0 at all other pixels.
    """
    shape, generator = (5, 7), np.random.default_rng(0)
    steps = [sorted(taps(1, 1, kind) - {(0, 0)}) for kind in "ABB"]
    for _ in range(4):
        path = [s[generator.integers(len(s))] for s in steps]
        settings = {} if residual else {"activation": "tanh"}
        layers = [
            (MaskedPixelBlock if residual else MaskedConv2D)(1, 3, t, **settings) for t in "ABB"
        ]
        for layer, (r, c) in zip(layers, path, strict=True):
            layer.build((None, *shape, 1))
            conv = layer.conv if residual else layer
            kernel = np.zeros([3, 3, 1, 1])
            kernel[1 + r, 1 + c] = 1.0
            conv.kernel.assign(kernel)
            conv.bias.assign([0.5])  # where ReLUs have a slope
        x = tf.ones([1, *shape, 1])
        with tf.GradientTape() as tape:
            tape.watch(x)
            h = x
            for layer in layers:
                h = layer(h)
            output = h[0, 3, 3, 0]
        seen = tape.gradient(output, x)[0, :, :, 0].numpy() != 0
        end = tuple(np.add((3, 3), np.sum(path, axis=0)))
        assert seen[end]
        assert residual or seen.sum() == 1


# The sawtooth -----------------------------------------------------------------------------------


@pytest.mark.parametrize(["a", "b"], list(itertools.product(range(4), range(4))))
def test_the_sawtooth_is_the_composition_of_the_masks(a, b):
    """Theorem 3.2: S_n, exactly, for up to 5 layers; kernels of one row or column too."""
    seen, later = taps(a, b, "A"), taps(a, b, "B")
    for n in range(1, 6):
        assert seen == sawtooth(n, a, b)
        seen = sums(seen, later)


@each_side
def test_borders_only_cut(a, b):
    """Proposition 3.3: paths inside an image lead to all of S_n inside it, from every pixel."""
    shape = (4, 6)
    for n in range(1, 6):
        field = classical_inside(shape, a, b, [1] * n)
        np.testing.assert_array_equal(field, inside(shape, sawtooth(n, a, b)))


def masked_stack(shape, n, kernel_size, activation, **kwargs):
    """A Keras model of n masked convolutions."""
    filters = kwargs.pop("filters", 3)
    layers = [
        MaskedConv2D(filters, kernel_size, "B" if i else "A", activation=activation, **kwargs)
        for i in range(n)
    ]
    return keras.Sequential([keras.Input(shape), *layers])


@each_side
@pytest.mark.parametrize(["activation", "num_draws"], [("tanh", 1), ("relu", 8)])
def test_masked_convolutions_see_the_sawtooth(a, b, activation, num_draws):
    """Theorem 3.2 and Proposition 3.3: what a network sees, by its derivatives.

    One draw of weights is enough with tanh, which is analytic (Lemma 3.1); ReLUs take several.
    """
    shape, n = (5, 8), 2
    model = masked_stack([*shape, 1], n, (2 * a + 1, 2 * b + 1), activation)
    for position in ((4, 3), (3, 7)):
        field = receptive_field(model, position, num_draws=num_draws)[..., 0]
        np.testing.assert_array_equal(field, field_of(sawtooth(n, a, b), position, shape))


@each_side
def test_the_size_of_the_blind_spot(a, b):
    """Corollary 3.4: which pixels are never seen, how many, and from how many layers on no others.

    At every pixel of an image, by paths; also with dilations, which may only see less.
    """
    shape = height, width = 4, 7
    before = past(shape).reshape([*shape, *shape])
    deepest = max(height - 1, -(-(width - 1) // b))
    fields = {
        n: classical_inside(shape, a, b, [1] * n).reshape([*shape, *shape])
        for n in range(1, deepest + 5)
    }
    dilated = classical_inside(shape, a, b, [1, 2, 1, 3, 1, 2]).reshape([*shape, *shape])
    row, column = np.indices(shape)
    for i, j in np.ndindex(*shape):
        blind = (row < i) & (column - j > b * (i - row))
        assert blind.sum() == sum(max(0, width - 1 - j - b * r) for r in range(1, i + 1))
        assert blind.any() == (i >= 1 and j < width - 1 - b)
        enough = max(i, -(-j // b), 1)
        for n in (enough, deepest + 4):
            np.testing.assert_array_equal(before[i, j] & ~fields[n][i, j], blind)
        assert not (dilated[i, j] & blind).any()


# Two stacks -------------------------------------------------------------------------------------


@each_side
def test_two_stacks_by_composition(a, b):
    """Theorem 3.5: V_n and H_n, unbounded and in images; the whole past if and only if in reach."""
    for n in range(1, 5):
        assert two_stacks(a, b, [1] * n) == (vertical(n * a, n * b), horizontal(n * a, n * b))
    complete = set()
    for shape in itertools.product(range(1, 6), range(1, 6)):
        for n, (v, h) in enumerate(stacks_inside(shape, 4, a, b), start=1):
            np.testing.assert_array_equal(v, inside(shape, vertical(n * a, n * b)))
            np.testing.assert_array_equal(h, inside(shape, horizontal(n * a, n * b)))
            assert not (h & ~past(shape)).any()
            in_reach = n * a >= shape[0] - 1 and n * b >= shape[1] - 1
            assert np.array_equal(h, past(shape)) == in_reach
            complete.add(in_reach)
    assert complete == {False, True}


class TwoStacks(keras.layers.Layer):
    """Layers of `BlindSpotFreeConv2D` with tanh between them: image to h."""

    def __init__(self, n, kernel_size, filters=2, **kwargs):
        super().__init__()
        self.convs = [
            BlindSpotFreeConv2D(filters, kernel_size, "B" if i else "A", **kwargs) for i in range(n)
        ]

    def build(self, input_shape):
        for i, conv in enumerate(self.convs):
            shape = (*input_shape[:-1], conv.filters) if i else input_shape
            conv.build(shape, shape)
        self.built = True

    def call(self, x):
        v = h = x
        for conv in self.convs:
            v, h = (keras.ops.tanh(part) for part in conv(v, h))
        return h


@pytest.mark.parametrize(
    ["n", "kernel_size", "enough"],
    [(3, (3, 5), True), (2, (3, 5), False), (2, (5, 3), False), (2, (5, 5), True)],
)
def test_two_stacks_see_the_past_if_the_reach_suffices(n, kernel_size, enough):
    """Theorem 3.5: the package's layers see H_n, by derivatives: the past where it is in reach."""
    shape, (a, b) = (4, 5), (k // 2 for k in kernel_size)
    layer, missed = TwoStacks(n, kernel_size), 0
    for position in ((0, 4), (1, 1), (3, 0), (3, 4)):
        field = receptive_field(layer, position, [*shape, 1], num_draws=1)[..., 0]
        np.testing.assert_array_equal(field, field_of(horizontal(n * a, n * b), position, shape))
        missed += np.sum(past(shape).reshape([*shape, *shape])[position] & ~field)
    assert (missed == 0) == enough


@pytest.mark.parametrize("stacks", [1, 2])
def test_groups_of_channels(stacks):
    """Proposition 3.6: all groups of the pixels seen, and of its own those before, exactly."""
    shape, position, groups, n = (3, 5), (2, 2), 3, 2
    settings = {"filters": groups, "channel_groups": groups}
    if stacks == 1:
        layer, steps = masked_stack([*shape, groups], n, 3, "tanh", **settings), sawtooth(n, 1, 1)
    else:
        layer, steps = TwoStacks(n, 3, **settings), horizontal(n, n)
    for group in range(groups):
        expected = np.repeat(field_of(steps, position, shape)[..., np.newaxis], groups, -1)
        expected[position] = np.arange(groups) < group
        field = receptive_field(layer, (*position, group), [*shape, groups], num_draws=1)
        np.testing.assert_array_equal(field, expected)


@pytest.mark.parametrize(["a", "b"], [*SIDES, (2, 2)])
def test_dilations_without_holes(a, b):
    """Proposition 3.7: V and H are without holes if and only if each dilation is small enough."""
    lists = [[1, 1, 2], [1, 2], [1, 2, 1], [1, 3, 1], [1, 2, 4], [1, 3, 2], [1, 1, 3], [1, 4]]
    found = set()
    for dilations in [*lists, [1, 2, 1, 4, 1, 2, 1]]:
        by_size = sorted(dilations)
        without_holes = all(
            by_size[k] <= min(a, b) * sum(by_size[:k]) for k in range(1, len(by_size))
        )
        up, aside = a * sum(dilations), b * sum(dilations)
        expected = vertical(up, aside), horizontal(up, aside)
        assert (two_stacks(a, b, dilations) == expected) == without_holes
        found.add(without_holes)
    assert found == {False, True}
