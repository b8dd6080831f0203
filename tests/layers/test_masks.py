import numpy as np
import pytest

from tfp_ar.layers import masks

TYPE_A = [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1],
    [1, 1, 0, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
]
TYPE_B = [
    [1, 1, 1, 1, 1],
    [1, 1, 1, 1, 1],
    [1, 1, 1, 0, 0],
    [0, 0, 0, 0, 0],
    [0, 0, 0, 0, 0],
]


@pytest.mark.parametrize("mask_type, expected", [("A", TYPE_A), ("B", TYPE_B)])
def test_five_by_five(mask_type, expected):
    mask = masks.causal_mask((5, 5), mask_type)
    assert mask.dtype == bool and mask.shape == (5, 5, 1, 1)
    np.testing.assert_array_equal(mask[:, :, 0, 0], expected)


@pytest.mark.parametrize("mask_type, expected", [("A", TYPE_A), ("B", TYPE_B)])
def test_without_groups_all_channels_have_the_same_mask(mask_type, expected):
    mask = masks.causal_mask((5, 5), mask_type, in_channels=2, out_channels=3)
    assert mask.shape == (5, 5, 2, 3)
    for i, o in np.ndindex(2, 3):
        np.testing.assert_array_equal(mask[:, :, i, o], expected)


@pytest.mark.parametrize(
    "kernel_size, expected",
    [
        ((3, 5), [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]),
        ((5, 3), [[1, 1, 1], [1, 1, 1], [1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ((1, 3), [[1, 0, 0]]),
        ((3, 1), [[1], [0], [0]]),
        ((1, 1), [[0]]),
    ],
)
def test_rectangular(kernel_size, expected):
    mask = masks.causal_mask(kernel_size, "A")[:, :, 0, 0]
    np.testing.assert_array_equal(mask, expected)
    centre = kernel_size[0] // 2, kernel_size[1] // 2
    expected = np.array(expected)
    expected[centre] = 1
    np.testing.assert_array_equal(masks.causal_mask(kernel_size, "B")[:, :, 0, 0], expected)


@pytest.mark.parametrize(
    "mask_type, centre",
    [
        ("A", [[0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]]),
        ("B", [[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1]]),
    ],
)
def test_three_groups(mask_type, centre):
    # Rows: R, G and B of the input; columns: two channels of each in the output.
    mask = masks.causal_mask((3, 3), mask_type, 3, 6, channel_groups=3)
    np.testing.assert_array_equal(mask[1, 1], centre)
    assert mask[0].all() and mask[1, 0].all()
    assert not mask[1, 2].any() and not mask[2].any()


def test_group_ranks():
    np.testing.assert_array_equal(masks.group_ranks(6, 3), [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(masks.group_ranks(4, 1), [0, 0, 0, 0])


@pytest.mark.parametrize("offsets", [masks.rows_above, masks.columns_before])
def test_offsets_of_the_stacks(offsets):
    assert offsets(5, "A").tolist() == [-2, -1]
    assert offsets(5, "B").tolist() == [-2, -1, 0]
    assert offsets(1, "A").tolist() == []


@pytest.mark.parametrize(
    "call", [lambda t: masks.causal_mask((3, 3), t), lambda t: masks.rows_above(3, t)]
)
def test_unknown_type(call):
    with pytest.raises(ValueError, match="^mask_type: expected one of 'A', 'B', got 'C'"):
        call("C")
