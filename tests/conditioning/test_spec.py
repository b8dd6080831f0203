import numpy as np
import pytest
import tensorflow as tf

from tfp_ar.conditioning.spec import ConditioningSpec, describe

FORMS = {
    "none": (None, [6], {}),
    "global": ([3], [6], {"global": (3,)}),
    "local": ([6, 2], [6], {"local": (6, 2)}),
    "local_of_channels": ([6, 2], [6, 3], {"local": (6, 2)}),
    "local_of_images": ([5, 4, 2], [5, 4, 1], {"local": (5, 4, 2)}),
    "dict_of_global": ({"global": [3]}, [6], {"global": (3,)}),
    "dict_of_both": ({"local": [6, 2], "global": [3]}, [6], {"global": (3,), "local": (6, 2)}),
    "tensor_shape": (tf.TensorShape([3]), [6], {"global": (3,)}),
    "array": (np.array([6, 2]), [6], {"local": (6, 2)}),
}


@pytest.mark.parametrize("form", FORMS)
def test_shapes_by_kind_and_in_the_form_of_the_user(form):
    given, event_shape, shapes = FORMS[form]
    spec = ConditioningSpec(given, event_shape)
    assert spec.shapes == shapes
    assert bool(spec) == bool(shapes)
    assert spec.event_ndims == [len(shape) for shape in spec.shapes.values()]
    if form == "none":
        assert spec.public is None
    elif isinstance(given, dict):
        assert spec.public == shapes
    else:
        assert spec.public == tuple(given)
    assert ConditioningSpec(spec.public, event_shape).public == spec.public


@pytest.mark.parametrize("form", FORMS)
def test_join_undoes_parse(form):
    given, event_shape, shapes = FORMS[form]
    spec = ConditioningSpec(given, event_shape)
    values = [tf.ones([7, *shape]) for shape in spec.shapes.values()]
    conditional_input = spec.join(values)
    parts = spec.parse(conditional_input)
    assert list(parts) == list(spec.shapes) == sorted(shapes)
    assert all(a is b for a, b in zip(parts.values(), values, strict=True))


def test_split_does_not_depend_on_the_order_of_the_keys():
    spec = ConditioningSpec({"local": [6, 2], "global": [3]}, [6])
    c = {"local": tf.ones([6, 2]), "global": tf.zeros([3])}
    parts = spec.parse(c)
    assert list(parts) == ["global", "local"]
    assert parts["local"] is c["local"] and parts["global"] is c["global"]


def test_public_is_a_copy():
    spec = ConditioningSpec({"global": [3]}, [6])
    spec.public["local"] = (6, 2)
    assert spec.public == {"global": (3,)}


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({}, ValueError, r"keys 'global' and 'local', got keys \[\]"),
        ({"globl": [3]}, ValueError, r"keys 'global' and 'local', got keys \['globl'\]"),
        ({"global": [3], 4: [3]}, ValueError, r"got keys \['4', 'global'\]"),
        ({"global": [3, 2]}, ValueError, r"\['global'\]: expected \[k\], got \[3, 2\]"),
        ({"global": 3}, TypeError, r"conditional_shape\['global'\]: expected a sequence"),
        ({"local": [2]}, ValueError, r"the positions of event_shape \[6\], got \[2\]"),
        ({"local": [5, 2]}, ValueError, r"the positions of event_shape \[6\], got \[5, 2\]"),
        ([5, 2], ValueError, r"the positions of event_shape \[6\], got \[5, 2\]"),
        ([6, 2, 2], ValueError, r"the positions of event_shape \[6\], got \[6, 2, 2\]"),
        ([0], ValueError, r"conditional_shape\[0\]: expected a positive integer, got 0"),
        ([], ValueError, "conditional_shape: expected at least one positive integer"),
        (3, TypeError, "conditional_shape: expected a sequence of positive integers, got 3"),
        ("global", TypeError, "conditional_shape: expected a sequence of positive integers"),
    ],
)
def test_bad_shapes(given, error, message):
    with pytest.raises(error, match=message):
        ConditioningSpec(given, [6])


def test_describe():
    assert describe([1.0, 2.0]) == "a value of shape [2]"
    assert describe({"a": 1.0}) == "a dict of 'a': a value of shape []"
