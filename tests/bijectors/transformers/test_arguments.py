"""What the three transformers take and refuse."""

import numpy as np
import pytest
import tensorflow as tf

from tfp_ar.bijectors import Affine, MixtureOfLogistics, RationalQuadraticSpline

COUNTS = [(MixtureOfLogistics, "num_components"), (RationalQuadraticSpline, "num_bins")]
NUMBERS = {
    Affine: ["log_scale_bound"],
    MixtureOfLogistics: ["log_scale_bound", "spread"],
    RationalQuadraticSpline: ["bound", "log_scale_bound", "min_bin_size", "min_slope"],
}
each_transformer = pytest.mark.parametrize(
    "transformer", [Affine(), MixtureOfLogistics(3), RationalQuadraticSpline(4, bound=3.0)]
)


def test_number_of_parameters():
    assert [MixtureOfLogistics(k).num_params for k in (1, 4, 10)] == [5, 14, 32]
    assert [RationalQuadraticSpline(k).num_params for k in (2, 8)] == [7, 25]
    assert (MixtureOfLogistics().num_params, RationalQuadraticSpline().num_params) == (14, 25)


@pytest.mark.parametrize("make, name", COUNTS)
def test_counts_that_are_none(make, name):
    for error, values in ((ValueError, (0, -1)), (TypeError, (2.0, "4", None, True))):
        for wrong in values:
            with pytest.raises(error, match=f"{name}: expected a positive integer, got"):
                make(wrong)


@pytest.mark.parametrize("make, name", [(make, name) for make in NUMBERS for name in NUMBERS[make]])
def test_numbers_that_are_none(make, name):
    for wrong in (0, -1.0, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"{name}: expected a positive finite number, got"):
            make(**{name: wrong})
    for wrong in (None, "7", True, [7.0]):
        with pytest.raises(TypeError, match=f"{name}: expected a positive number, got"):
            make(**{name: wrong})


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_bins": 1}, "num_bins: expected at least 2, got"),
        (
            {"num_bins": 4, "min_bin_size": 0.25},
            r"min_bin_size: expected .* below 1/num_bins \(0.25\), got",
        ),
        ({"min_slope": 1.0}, "min_slope: expected a number below 1, got 1.0"),
    ],
)
def test_splines_that_have_no_room(arguments, message):
    with pytest.raises(ValueError, match=message):
        RationalQuadraticSpline(**arguments)


@each_transformer
def test_wrong_parameters(transformer):
    number = 2 if isinstance(transformer, Affine) else transformer.num_params
    for shape in ([3, number - 1], [3, number + 1], []):
        text = rf"params: expected shape \[\.\.\., {number}\], got \[{', '.join(map(str, shape))}\]"
        with pytest.raises(ValueError, match=text):
            transformer(tf.zeros(shape))


@each_transformer
def test_equal_settings_are_equal_transformers(transformer):
    # Compiled functions are shared by equality.
    same = type(transformer)(**vars(transformer))
    other = type(transformer)(**{**vars(transformer), "log_scale_bound": 5})
    again = type(transformer)(**{**vars(transformer), "log_scale_bound": 5.0})
    assert same == transformer and hash(same) == hash(transformer) and other != transformer
    assert again == other and hash(again) == hash(other)
