import itertools

import numpy as np
import pytest

from tests.helpers import (
    allowed_inputs,
    params_jacobian,
    random_conditioning,
    random_events,
    randomize,
    seen_inputs,
)
from tests.layers.reference import seen_at
from tests.networks.pixel_examples import NETWORKS, lively_pixels
from tfp_ar.networks import GatedPixelCNN, PixelCNN

each_network = pytest.mark.parametrize("network", NETWORKS)
# Each needs its own Jacobians: (event_shape, num_layers, kernel_size, dilations).
FIELDS = [
    ([4, 5, 1], 1, 3, None),
    ([4, 5, 1], 2, 3, None),
    ([4, 5, 1], 5, 3, None),
    ([4, 6, 1], 2, 5, None),
    ([4, 6, 1], 3, 3, [1, 2, 1]),
    ([3, 3, 3], 2, 3, None),
]


def composed(*masks):
    """What layers see that follow each other, each given as pixels [H * W, H * W]."""
    return np.linalg.multi_dot([np.eye(len(masks[0]))] + [m.astype(float) for m in masks]) > 0


def taps(shape, rows, columns):
    size = shape[0] * shape[1]
    return seen_at(shape, rows, columns).reshape(size, size)


def classical_field(shape, kernel_size, dilations):
    """Pixels seen from each through masked convolutions: a sawtooth, bool [H * W, H * W]."""
    side, field = kernel_size // 2, None
    for d in dilations:
        offsets = [i * d for i in range(-side, side + 1)]
        before = [o for o in offsets if o < 0]
        mask = taps(shape, before, offsets) | taps(shape, [0], before)
        own = np.eye(len(mask), dtype=bool)
        field = mask if field is None else composed(mask | own, field)
    return field


def gated_field(shape, kernel_size, dilations):
    """Pixels seen from each through the two stacks."""
    side, v, h = kernel_size // 2, None, None
    for d in dilations:
        offsets = [i * d for i in range(-side, side + 1)]
        before = [o for o in offsets if o < 0]
        if v is None:
            v = taps(shape, before, offsets)
            h = v | taps(shape, [0], before)
        else:
            v = composed(taps(shape, [*before, 0], offsets), v)
            h = h | composed(taps(shape, [0], [*before, 0]), h) | v
    return h


def with_channels(pixels, channels):
    """Variables seen from each: all channels of those pixels, and those before in its own."""
    seen = np.kron(pixels, np.ones([channels, channels])) > 0
    own = np.tril(np.ones([channels, channels]), k=-1)
    return seen | (np.kron(np.eye(len(pixels)), own) > 0)


def network_of(network, event_shape, num_layers, kernel_size, dilations):
    return NETWORKS[network](
        event_shape,
        num_params=1,
        filters=6,
        num_layers=num_layers,
        kernel_size=kernel_size,
        dilations=dilations,
    )


@each_network
@pytest.mark.parametrize("event_shape, num_layers, kernel_size, dilations", FIELDS)
def test_sees_exactly_its_field_whatever_the_weights(
    network, event_shape, num_layers, kernel_size, dilations
):
    """Proposition 3.7 of docs/theory.md: some have dilations."""
    field = {"classical": classical_field, "gated": gated_field}[network]
    expected = field(event_shape[:2], kernel_size, dilations or [1] * num_layers)
    expected = with_channels(expected, event_shape[2])
    made = network_of(network, event_shape, num_layers, kernel_size, dilations)
    seen = seen_inputs(made)
    assert not (seen & ~allowed_inputs(made)).any()
    np.testing.assert_array_equal(seen, expected)
    if network == "classical":
        assert (allowed_inputs(made) & ~seen).any()  # the blind spot


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_no_number_of_layers_removes_the_blind_spot(kernel_size):
    """Corollary 3.4 of docs/theory.md."""
    # A row up, `side` columns to the right at most: the sawtooth of the paper's figure.
    shape, side = (5, 9), kernel_size // 2
    field = classical_field(shape, kernel_size, [1] * 20)
    for (r, c), (row, column) in itertools.product(np.ndindex(*shape), np.ndindex(*shape)):
        before = row < r or (row == r and column < c)
        sawtooth = before and column - c <= side * (r - row)
        assert field[r * 9 + c, row * 9 + column] == sawtooth
    # From the middle of the second row the end of the first is not seen, nor by deeper networks.
    assert not field[9 + 4, 8] and (kernel_size == 5 or not field[2 * 9 + 4, 8])


@pytest.mark.parametrize("event_shape", [[4, 5, 1], [3, 3, 3]])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_gated_sees_all_earlier_pixels_once_its_reach_suffices(event_shape, kernel_size):
    """Theorem 3.5 of docs/theory.md."""
    network = network_of("gated", event_shape, 4, kernel_size, None)
    allowed = allowed_inputs(network)
    shape = event_shape[:2]
    field = gated_field(shape, kernel_size, [1] * 4)
    np.testing.assert_array_equal(field, np.tri(len(field), k=-1))
    if kernel_size == 5:  # the field above has tests of its own; here new weights, but the head's
        seen = np.zeros_like(allowed)
        for draw in range(4):
            new = network_of("gated", event_shape, 4, kernel_size, None)
            randomize(new.head, 0.5, draw)
            seen |= (params_jacobian(new, random_events(new, (), draw)) != 0).any(axis=1)
        np.testing.assert_array_equal(seen, allowed)
    else:
        np.testing.assert_array_equal(seen_inputs(network), allowed)


@each_network
def test_conditioning_acts_at_its_own_pixel_and_below(network):
    made = lively_pixels(network, "local")
    x, c = random_events(made), random_conditioning(made).numpy()
    changed = c.copy()
    changed[0, 1, 1] += 1.0
    moved = np.zeros([3, 3], bool)
    for seed in range(4):
        randomize(made, 0.5, seed)
        moved |= np.not_equal(made(x, c), made(x, changed)).any(axis=(0, 3, 4))
    assert moved[1, 1:].all() and moved[2, 1]
    # A map is known as a whole: the vertical stack takes it in from both sides.
    assert not moved[0].any() and moved[1, 0] == (network == "gated")


# Errors -------------------------------------------------------------------------------------------


@each_network
@pytest.mark.parametrize(
    "argument, value, error, message",
    [
        ("event_shape", [4, 4], ValueError, r"^event_shape: expected \[H, W, C\], got \[4, 4\]"),
        ("event_shape", [2, 2, 2, 1], ValueError, r"^event_shape: expected \[H, W, C\], got \[2"),
        ("event_shape", [4, 0, 1], ValueError, r"^event_shape\[1\]: expected a positive integer"),
        ("filters", 0, ValueError, "^filters: expected a positive integer, got 0"),
        ("num_layers", 0, ValueError, "^num_layers: expected a positive integer, got 0"),
        ("head_channels", 0, ValueError, "^head_channels: expected a positive integer, got 0"),
        ("kernel_size", 4, ValueError, "^kernel_size: expected an odd integer of .* 3, got 4"),
        ("kernel_size", 1, ValueError, "^kernel_size: expected an odd integer of .* 3, got 1"),
        ("kernel_size", (3, 3), TypeError, r"^kernel_size: expected a positive integer, got \(3"),
        ("dilations", [1, 2], ValueError, r"^dilations: .* num_layers=3 layers, .*got \[1, 2\]"),
        ("dilations", [2, 1, 1], ValueError, r"^dilations: .*first of them 1, got \[2, 1, 1\]"),
        ("dilations", [1, 0, 1], ValueError, r"^dilations\[1\]: expected a positive integer"),
        ("dropout", 1.0, ValueError, r"^dropout: expected a number in \[0, 1\), got 1.0"),
        ("seed", 1.5, TypeError, r"^seed: expected an integer or None, got 1\.5"),
        (
            "conditional_shape",
            [4, 3, 2],
            ValueError,
            r"positions of event_shape \[4, 5, 1\], got \[4, 3, 2\]",
        ),
        (
            "conditional_shape",
            {"global": [4, 5, 2]},
            ValueError,
            r"^conditional_shape\['global'\]: expected \[k\], got \[4, 5, 2\]",
        ),
    ],
)
def test_bad_arguments(network, argument, value, error, message):
    with pytest.raises(error, match=message):
        NETWORKS[network](**{"event_shape": [4, 5, 1], "num_layers": 3, argument: value})


def test_defaults():
    for network in (PixelCNN([8, 8, 1]), GatedPixelCNN([8, 8, 1])):
        assert (network.num_params, network.filters, network.num_layers) == (2, 32, 7)
        assert (network.kernel_size, network.dilations) == (3, (1,) * 7)
        assert network.channels == 1 and network.head_channels == 32
