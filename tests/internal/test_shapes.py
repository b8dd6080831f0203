import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import normal
from tfp_ar.internal import shapes

PADDED = {0: 1, 1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 6, 7: 8, 8: 8, 9: 12, 12: 12, 13: 16, 17: 24}
PADDED |= {24: 24, 25: 32, 33: 48, 48: 48, 49: 64, 64: 64, 65: 96, 1000: 1024, 1025: 1536}


@pytest.mark.parametrize("size", PADDED)
def test_padded_size(size):
    assert shapes.padded_size(size) == PADDED[size]


def test_padded_sizes_are_few_and_waste_at_most_a_third():
    padded = np.array([shapes.padded_size(n) for n in range(1, 5001)])
    sizes = np.arange(1, 5001)
    assert (padded >= sizes).all() and (np.diff(padded) >= 0).all()
    assert ((padded - sizes) / padded).max() <= 1 / 3
    assert set(padded) == {1} | {m * 2**k for m in (2, 3) for k in range(12)}


def test_padded_size_tensor_equals_padded_size():
    sizes = [*range(5001), 2**20, 2**20 + 1, 2**30, 2**30 + 1]

    @tf.function
    def padded_sizes():
        return tf.map_fn(shapes.padded_size_tensor, tf.constant(sizes, tf.int32))

    np.testing.assert_array_equal(padded_sizes(), [shapes.padded_size(n) for n in sizes])


@pytest.mark.parametrize(
    "given, expected",
    [
        ([()], ()),
        ([(), (3,)], (3,)),
        ([(2, 1), (3,)], (2, 3)),
        ([(1,), (1,)], (1,)),
        ([(0,), (1,)], (0,)),
        ([(4, 1, 2), (3, 1), ()], (4, 3, 2)),
    ],
)
def test_broadcast_leading(given, expected):
    assert shapes.broadcast_leading(given) == expected == np.broadcast_shapes(*given)


@pytest.mark.parametrize(
    "given", [[(2,), (3,)], [(0,), (2,)], [(2, 3), (3, 3)], [(2,), (1,), (4,)]]
)
def test_broadcast_leading_refuses_what_does_not_broadcast(given):
    with pytest.raises(ValueError, match=r"batch shapes \[\d.* do not broadcast\.$"):
        shapes.broadcast_leading(given)


@pytest.mark.parametrize("a, b", [(1, 1), (1, 4), (4, 1), (4, 4), (0, 1), (1, 0)])
def test_broadcast_leading_of_unknown_sizes(a, b):
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None]), tf.TensorSpec([None])])
    def size(x, y):
        shape = shapes.broadcast_leading([shapes.leading(x, 0), shapes.leading(y, 0)])
        mixed = shapes.broadcast_leading([shapes.leading(x, 0), (1,)])
        known = shapes.broadcast_leading([shapes.leading(x, 0), (4,)])
        seen.append(known)
        return shape[0], mixed[0]

    broadcast, alone = size(tf.zeros([a]), tf.zeros([b]))
    assert int(broadcast) == np.broadcast_shapes([a], [b])[0] and int(alone) == a
    assert seen == [(4,)]


def test_leading():
    x = tf.zeros([2, 3, 4])
    assert shapes.leading(x, 0) == (2, 3, 4)
    assert shapes.leading(x, 1) == (2, 3)
    assert shapes.leading(x, 3) == ()


@pytest.mark.parametrize("shape", [(), (1,), (5,), (0,), (2, 3), (2, 0), (2, 1, 3)])
def test_flatten_and_unflatten(shape):
    values = [normal([*shape, 4]), normal([4, 2], seed=1), normal([*shape[1:], 3], seed=2)]
    ndims = [1, 2, 1]
    flat = shapes.flatten(values, ndims, shape)
    size = int(np.prod(shape))
    assert [tuple(v.shape) for v in flat] == [(size, 4), (size, 4, 2), (size, 3)]
    for value, one, n in zip(values, flat, ndims, strict=True):
        whole = np.broadcast_to(value, [*shape, *value.shape[len(value.shape) - n :]])
        np.testing.assert_array_equal(shapes.unflatten(one, shape), whole)


def test_flatten_of_unknown_sizes():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3]), tf.TensorSpec([None, 2])])
    def there_and_back(x, c):
        shape = shapes.broadcast_leading([shapes.leading(x, 1), shapes.leading(c, 1)])
        flat = shapes.flatten([x, c], [1, 1], shape)
        return *flat, *(shapes.unflatten(v, shape) for v in flat)

    x, c = normal([4, 1, 3]), normal([5, 2], seed=1)
    flat_x, flat_c, whole_x, whole_c = there_and_back(x, c)
    assert flat_x.shape == (20, 3) and flat_c.shape == (20, 2)
    np.testing.assert_array_equal(whole_x, np.broadcast_to(x, [4, 5, 3]))
    np.testing.assert_array_equal(whole_c, np.broadcast_to(c, [4, 5, 2]))


def test_flatten_leaves_alone_what_is_flat():
    x = normal([5, 4])
    assert shapes.flatten([x], [1], (5,))[0] is x
    assert shapes.unflatten(x, (5,)) is x


@pytest.mark.parametrize(
    "a, b, expected",
    [((2, 3), (2, 3), True), ((2,), (2, 3), False), ((2,), (3,), False), ((), (), True)],
)
def test_same_shape(a, b, expected):
    assert shapes.same_shape(a, b) is expected


def test_batch_size():
    assert shapes.batch_size(()) == 1
    assert shapes.batch_size((2, 0)) == 0
    size = shapes.batch_size((2, 3))
    assert size == 6 and type(size) is int
    assert int(shapes.batch_size((2, tf.constant(3)))) == 6


@pytest.mark.parametrize("size, padded", [(3, 4), (1, 4), (4, 4), (0, 1), (0, 3)])
@pytest.mark.parametrize("dynamic", [False, True])
def test_pad_repeats_the_first_row(size, padded, dynamic):
    def pad(x, y):
        n = tf.shape(x)[0] if dynamic else size
        return shapes.pad([x, y], n, tf.constant(padded) if dynamic else padded)

    if dynamic:
        specs = [tf.TensorSpec([None, 2]), tf.TensorSpec([None], tf.int32)]
        pad = tf.function(pad, input_signature=specs)
    values = [normal([size, 2]), tf.range(5, 5 + size)]
    for value, result in zip(values, pad(*values), strict=True):
        value = value.numpy()
        more = value[:1] if size else np.zeros([1, *value.shape[1:]], value.dtype)
        expected = np.concatenate([value, np.repeat(more, padded - size, axis=0)])
        np.testing.assert_array_equal(result, expected)


def test_pad_leaves_alone_what_has_the_size():
    values = [normal([4, 2])]
    assert shapes.pad(values, 4, 4) is values


def test_static_shape_of_anything_a_tensor_can_be_made_of():
    assert shapes.static_shape(tf.zeros([2, 3])) == [2, 3]
    assert shapes.static_shape(np.zeros([2, 3])) == [2, 3]
    assert shapes.static_shape([[1, 2, 3]]) == [1, 3]
    assert shapes.static_shape(2.0) == []
    assert shapes.static_shape(tf.Variable(tf.zeros([4]))) == [4]
    seen = []

    @tf.function(input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec(None)])
    def traced(a, b):
        seen.extend([shapes.static_shape(a), shapes.static_shape(b)])
        return a

    traced(tf.zeros([2, 3]), tf.zeros([]))
    assert seen == [[None, 3], None]


@pytest.mark.parametrize(
    "shape", [[2, 3], [7, 2, 3], [None, 2, 3], [None, 3], [2, None], None, tf.TensorShape([2, 3])]
)
def test_event_shape_takes(shape):
    shapes.check_event_shape("x", shape, (2, 3))


@pytest.mark.parametrize("shape", [[3], [], [3, 2], [2, 4], [None, 4], [2, 3, 1]])
def test_event_shape_refuses(shape):
    with pytest.raises(ValueError) as caught:
        shapes.check_event_shape("x", shape, (2, 3))
    assert str(caught.value) == f"x: expected shape [..., 2, 3], got {shape}."


def test_event_shape_of_scalars():
    shapes.check_event_shape("x", [], ())
    shapes.check_event_shape("x", [4], ())
