"""Requirements of every bijector that holds one of our flows; runs over `registry.BIJECTORS`.

Tests that do not depend on the network leave out the flows on each of the networks. Batches
have `entry.event_size` rows wherever that is possible, so that compiled code is shared.
"""

import functools

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.compliance.bijectors import registry
from tests.compliance.entries import parametrized
from tfp_ar.conditioning.walk import flows

tfb, tfd = tfp.bijectors, tfp.distributions

EXACT = {"rtol": 1e-10, "atol": 1e-10}  # float64, the same arithmetic in another order
SETTINGS = registry.FLOWS + registry.COMPOSITIONS


def each(entries):
    """Parametrizes over entries."""
    return pytest.mark.parametrize(**parametrized(entries))


each_flow = each(registry.FLOWS)
each_flow_on_a_network = each(registry.FLOWS_ON_NETWORKS + registry.FLOWS)
each_setting = each(SETTINGS)
each_bijector = each(registry.BIJECTORS)


def random_bijector(entry, dtype="float64"):
    """A new bijector with random weights: the same numbers for each dtype."""
    bijector = entry.make(dtype)
    for k, flow in enumerate(flows(bijector)):
        helpers.randomize(flow.network, 0.4, seed=(7, k))
    return bijector


@functools.cache
def shared_bijector(entry, dtype="float64"):
    """The bijector that the tests share which change nothing of it."""
    return random_bijector(entry, dtype)


def points(bijector, entry, batch, dtype="float64", seed=0):
    """(u, x, kwargs): u random, x the image of another random u, in tensors no cache knows."""
    kwargs = entry.conditioning(batch, dtype, seed)
    u = helpers.normal([*batch, *entry.event_shape], dtype, (seed, 1))
    v = helpers.normal([*batch, *entry.event_shape], dtype, (seed, 2))
    return u, tf.identity(bijector.forward(v, **kwargs)), kwargs


def all_four(bijector, entry, u, x, kwargs):
    """Both maps and both log-dets, of tensors that no cache knows yet."""
    ndims = len(entry.event_shape)
    u, x = tf.identity(u), tf.identity(x)
    return {
        "forward": bijector.forward(u, **kwargs),
        "fldj": bijector.forward_log_det_jacobian(u, ndims, **kwargs),
        "inverse": bijector.inverse(x, **kwargs),
        "ildj": bijector.inverse_log_det_jacobian(x, ndims, **kwargs),
    }


def traced(bijector, entry, **kwargs):
    """`all_four` of a bijector, in a graph."""
    return tf.function(functools.partial(all_four, bijector, entry), autograph=False, **kwargs)


def assert_all_close(got, want, **tolerance):
    """Compares what `all_four` gives."""
    assert set(got) == set(want)
    for name, value in want.items():
        np.testing.assert_allclose(got[name], value, **tolerance, err_msg=name)


def standard_normal(entry, dtype="float64"):
    """The base distribution."""
    return tfd.Sample(tfd.Normal(tf.zeros([], dtype), 1.0), entry.event_shape)


def transformed(bijector, entry, dtype="float64"):
    """The distribution of the bijector's image of standard normal noise."""
    return tfd.TransformedDistribution(standard_normal(entry, dtype), bijector)


def rows(entry):
    """The leading shape of most tests."""
    return [entry.event_size]


# The map ----------------------------------------------------------------------------------------


@each_bijector
def test_round_trips(entry):
    """Theorem 2.1 of docs/theory.md, for flows."""
    bijector = shared_bijector(entry)
    u, x, kwargs = points(bijector, entry, rows(entry))
    forward = tf.identity(bijector.forward(u, **kwargs))
    assert np.abs(forward - u).max() > 1e-2, "the identity shows nothing"
    np.testing.assert_allclose(bijector.inverse(forward, **kwargs), u, **EXACT)
    inverse = tf.identity(bijector.inverse(x, **kwargs))
    np.testing.assert_allclose(bijector.forward(inverse, **kwargs), x, **EXACT)


@each_bijector
def test_log_dets_are_those_of_the_jacobians(entry):
    """Proposition 2.2 of docs/theory.md, for flows."""
    bijector = shared_bijector(entry)
    u, x, kwargs = points(bijector, entry, rows(entry))
    first = tf.nest.map_structure(lambda c: c[0], kwargs)
    computed = all_four(bijector, entry, u, x, kwargs)
    for name, method, at in (("fldj", "forward", u), ("ildj", "inverse", x)):
        matrix = helpers.jacobian(
            lambda v, f=method: getattr(bijector, f)(v, **first), at[0], entry.event_size
        )
        _, want = np.linalg.slogdet(matrix)
        assert abs(want) > 1e-3 or "shift" in entry.name, "a log-det of 0 shows nothing"
        np.testing.assert_allclose(computed[name][0], want, **EXACT, err_msg=name)


@each_bijector
def test_the_two_log_dets_cancel(entry):
    bijector = shared_bijector(entry)
    u, _, kwargs = points(bijector, entry, rows(entry))
    ndims = len(entry.event_shape)
    x = tf.identity(bijector.forward(u, **kwargs))
    fldj = bijector.forward_log_det_jacobian(tf.identity(u), ndims, **kwargs)
    ildj = bijector.inverse_log_det_jacobian(x, ndims, **kwargs)
    assert fldj.shape == rows(entry)
    np.testing.assert_allclose(fldj + ildj, tf.zeros_like(fldj), atol=1e-10)
    # As TransformedDistribution asks for them: of what the cache connects.
    x = bijector.forward(u, **kwargs)
    fldj = bijector.forward_log_det_jacobian(u, ndims, **kwargs)
    ildj = bijector.inverse_log_det_jacobian(x, ndims, **kwargs)
    np.testing.assert_allclose(fldj + ildj, tf.zeros_like(fldj), atol=1e-10)


@each_flow_on_a_network
def test_jacobian_is_triangular_in_the_order_of_the_network(entry):
    """Proposition 2.2 of docs/theory.md."""
    flow = shared_bijector(entry)
    u, _, kwargs = points(flow, entry, rows(entry))
    first = tf.nest.map_structure(lambda c: c[0], kwargs)
    matrix = helpers.jacobian(lambda v: flow.forward(v, **first), u[0], entry.event_size)
    order = flow.network.order
    matrix = matrix[np.ix_(order, order)]
    np.testing.assert_array_equal(np.triu(matrix, 1), 0.0)
    if flow.parameters["bijector_fn"] is None:
        x = flow.forward(u, **kwargs)[:1]
        condition = first.get("conditional_input", flow.conditional_input)
        raw = flow.network(x, condition)[0, ..., 1]
        bound = tf.cast(flow.parameters["log_scale_bound"], raw.dtype)
        alpha = tf.reshape(bound * tf.tanh(raw / bound), [-1]).numpy()[order]
        np.testing.assert_allclose(np.diag(matrix), np.exp(alpha), **EXACT)


# Modes of execution and shapes ------------------------------------------------------------------


@each_bijector
def test_eager_and_xla_agree(entry):
    bijector = shared_bijector(entry)
    u, x, kwargs = points(bijector, entry, rows(entry))
    want = all_four(bijector, entry, u, x, kwargs)
    assert_all_close(traced(bijector, entry, jit_compile=True)(u, x, kwargs), want, **EXACT)


@each_bijector
def test_eager_and_graphs_of_unknown_batch_agree(entry):
    bijector = shared_bijector(entry)
    u, x, kwargs = points(bijector, entry, rows(entry))
    want = all_four(bijector, entry, u, x, kwargs)
    unknown = tf.nest.map_structure(
        lambda v: tf.TensorSpec([None, *v.shape[1:]], v.dtype), (u, x, kwargs)
    )
    run = traced(bijector, entry, input_signature=unknown)
    for size in (entry.event_size, 1, 0):
        got = run(*tf.nest.map_structure(lambda v, n=size: v[:n], (u, x, kwargs)))
        first = {name: value[:size] for name, value in want.items()}
        assert_all_close(got, first, **EXACT)
        for name, value in got.items():
            assert value.shape == first[name].shape, name


@each_setting
def test_leading_shapes(entry):
    bijector = shared_bijector(entry)
    u, x, kwargs = points(bijector, entry, [4])
    want = all_four(bijector, entry, u, x, kwargs)

    def square(v):
        return tf.reshape(v, [2, 2, *v.shape[1:]])

    def first(v):
        return v[0]

    for change in (square, first):
        got = all_four(bijector, entry, *tf.nest.map_structure(change, (u, x, kwargs)))
        assert_all_close(got, tf.nest.map_structure(change, want), **EXACT)


@each_setting
def test_an_empty_batch(entry):
    bijector = shared_bijector(entry)
    arguments = tf.nest.map_structure(lambda v: v[:0], points(bijector, entry, rows(entry)))
    for name, value in all_four(bijector, entry, *arguments).items():
        assert value.shape == ([0] if name.endswith("ldj") else [0, *entry.event_shape]), name


@each_setting
def test_float32_is_float64_rounded(entry):
    u, x, kwargs = points(shared_bijector(entry), entry, rows(entry))
    want = all_four(shared_bijector(entry), entry, u, x, kwargs)
    rounded = tf.nest.map_structure(lambda v: tf.cast(v, tf.float32), (u, x, kwargs))
    got = all_four(shared_bijector(entry, "float32"), entry, *rounded)
    for name, value in got.items():
        assert value.dtype == tf.float32, name
        assert want[name].dtype == tf.float64, name
    assert_all_close(got, want, rtol=1e-4, atol=1e-4)


# Gradients --------------------------------------------------------------------------------------


def assert_gradients(entry, run, x, kwargs, variables):
    """That `run(x)` depends on x, conditioning and variables, and that none of it is lost."""
    parts = tf.nest.flatten(kwargs)
    with tf.GradientTape() as tape:
        tape.watch([x, *parts])
        y = tf.reduce_sum(tf.sin(run(x)))  # of no symmetry in which gradients would cancel
    gradients = tape.gradient(y, [x, *parts, *variables])
    assert variables
    names = ["x", *(f"condition {i}" for i in range(len(parts))), *(v.name for v in variables)]
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient is not None, name
        gradient = tf.convert_to_tensor(gradient)
        assert np.isfinite(gradient).all(), name
    moving = [np.any(tf.convert_to_tensor(g) != 0.0) for g in gradients]
    unmoved = [name for name, moved in zip(names, moving, strict=True) if not moved]
    assert not unmoved or entry.event_size == 1, unmoved  # one variable alone has no past to weigh


@each_bijector
def test_log_prob_has_gradients(entry):
    bijector = shared_bijector(entry)
    _, x, kwargs = points(bijector, entry, rows(entry))
    flow = transformed(bijector, entry)
    assert_gradients(
        entry,
        lambda x: flow.log_prob(x, bijector_kwargs=kwargs),
        x,
        kwargs,
        flow.trainable_variables,
    )


@each_bijector
def test_samples_are_reparameterised(entry):
    bijector = shared_bijector(entry)
    u, _, kwargs = points(bijector, entry, rows(entry))
    flow = transformed(bijector, entry)
    assert_gradients(
        entry, lambda u: bijector.forward(u, **kwargs), u, kwargs, flow.trainable_variables
    )


# Distributions on it ----------------------------------------------------------------------------


@each_bijector
def test_log_prob_is_the_change_of_variables(entry):
    """Theorem 2.3 of docs/theory.md, for flows."""
    bijector = shared_bijector(entry)
    _, x, kwargs = points(bijector, entry, rows(entry))
    log_prob = transformed(bijector, entry).log_prob(x, bijector_kwargs=kwargs)
    u = bijector.inverse(tf.identity(x), **kwargs)
    ildj = bijector.inverse_log_det_jacobian(tf.identity(x), len(entry.event_shape), **kwargs)
    base = tf.reduce_sum(
        tfd.Normal(tf.zeros([], "float64"), 1.0).log_prob(u), axis=range(1, x.ndim)
    )
    np.testing.assert_allclose(log_prob, base + ildj, **EXACT)


@each_setting
def test_samples_are_a_function_of_the_seed(entry):
    bijector, n = shared_bijector(entry), entry.event_size
    flow, kwargs = transformed(bijector, entry), entry.conditioning([n])

    def draw(seed):
        return flow.sample(n, seed=seed, bijector_kwargs=kwargs)

    first = draw([1, 2])
    assert first.shape == [n, *entry.event_shape]
    np.testing.assert_array_equal(draw([1, 2]), first)
    assert np.all(draw([1, 3]) != first)
    assert len(np.unique(first)) == tf.size(first), "rows must differ"
    in_graph = tf.function(draw, autograph=False)
    np.testing.assert_array_equal(in_graph(tf.constant([1, 2])), in_graph(tf.constant([1, 2])))
    # TFP's own samplers give the same noise in graphs: so do ours.
    np.testing.assert_allclose(in_graph(tf.constant([1, 2])), first, **EXACT)


@each_setting
def test_sample_and_log_prob(entry):
    bijector, n = shared_bijector(entry), entry.event_size
    flow, kwargs = transformed(bijector, entry), entry.conditioning([n])
    x, log_prob = flow.experimental_sample_and_log_prob(n, seed=[1, 2], bijector_kwargs=kwargs)
    want = flow.log_prob(tf.identity(x), bijector_kwargs=kwargs)
    np.testing.assert_allclose(log_prob, want, **EXACT)
    np.testing.assert_allclose(flow.sample(n, seed=[1, 2], bijector_kwargs=kwargs), x, **EXACT)


# Variables --------------------------------------------------------------------------------------


def containers(bijector, entry):
    """Objects of TFP that hold the bijector, by name."""
    flow = transformed(bijector, entry)
    return {
        "itself": bijector,
        "TransformedDistribution": flow,
        "tfb.Chain": tfb.Chain([tfb.Scale(tf.constant(2.0, "float64")), bijector]),
        "Chain": tfp_ar.bijectors.Chain([bijector, tfb.Scale(tf.constant(2.0, "float64"))]),
        "Invert": tfb.Invert(bijector),
        "Sample": tfd.Sample(flow, 3),
        "Independent": tfd.Independent(tfd.BatchBroadcast(flow, [2]), 1),
        "joint": tfd.JointDistributionSequential([flow, standard_normal(entry)]),
        "tf.Module": _holding(flow),
    }


def _holding(flow):
    module = tf.Module()
    module.flow = flow
    return module


def ids(variables):
    """What tells variables apart."""
    return sorted(map(id, variables))


@each_bijector
def test_variables_are_seen_through_containers_and_freezing_is_honoured(entry):
    bijector = entry.make("float64")
    networks = {id(flow.network): flow.network for flow in flows(bijector)}.values()
    variables = [v.value for network in networks for v in network.variables]
    trainable = [v.value for network in networks for v in network.trainable_variables]
    assert trainable
    for name, container in containers(bijector, entry).items():
        assert all(isinstance(v, tf.Variable) for v in container.variables), name
        assert ids(container.variables) == ids(variables), name
        assert ids(container.trainable_variables) == ids(trainable), name
        for network in networks:
            network.trainable = False
        assert container.trainable_variables == (), name
        assert ids(container.variables) == ids(variables), name
        for network in networks:
            network.trainable = True
        assert ids(container.trainable_variables) == ids(trainable), name


@each_bijector
def test_a_frozen_network_is_not_watched_by_tapes(entry):
    bijector = entry.make("float64")
    variables = bijector.trainable_variables
    for flow in flows(bijector):
        flow.network.trainable = False
    assert bijector.trainable_variables == ()
    with tf.GradientTape() as tape:
        for variable in variables:
            tf.convert_to_tensor(variable)
    assert tape.watched_variables() == ()


@each_bijector
def test_checkpoints(entry, tmp_path):
    saved = shared_bijector(entry)
    fresh = entry.make("float64")  # other weights: these are zero where those are random
    x = helpers.normal([entry.event_size, *entry.event_shape], "float64")
    kwargs = entry.conditioning([entry.event_size])
    want = transformed(saved, entry).log_prob(x, bijector_kwargs=kwargs)
    path = tf.train.Checkpoint(flow=transformed(saved, entry)).write(str(tmp_path / "weights"))
    stored = [n for n, _ in tf.train.list_variables(path) if n.endswith("VARIABLE_VALUE")]
    assert len(stored) == len(saved.variables), "each variable once"

    flow = transformed(fresh, entry)
    status = tf.train.Checkpoint(flow=flow).read(path)
    status.assert_existing_objects_matched()
    status.assert_consumed()
    for old, new in zip(saved.variables, fresh.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(flow.log_prob(x, bijector_kwargs=kwargs), want)


# A TFP bijector ---------------------------------------------------------------------------------


@each_setting
def test_equality_hash_copy_and_parameters(entry):
    bijector, other = shared_bijector(entry), entry.make("float64")
    assert bijector == bijector  # noqa: PLR0124
    assert hash(bijector) == hash(bijector)
    assert bijector != other
    assert not {"self", "__class__"} & set(bijector.parameters)
    copy = bijector.copy()
    assert copy is not bijector
    assert type(copy) is type(bijector)
    assert copy == bijector
    assert hash(copy) == hash(bijector)
    assert ids(copy.variables) == ids(bijector.variables)
    assert copy.name == bijector.name
    renamed = bijector.copy(name="other")
    assert renamed.name == "other"
    rebuilt = type(bijector)(**bijector.parameters)
    assert ids(rebuilt.variables) == ids(bijector.variables)
    assert str(bijector)
    assert repr(bijector)


@each_bijector
def test_shapes_and_dtypes_are_known_without_computing(entry):
    bijector = shared_bijector(entry)
    shape = [7, *entry.event_shape]
    for known in (bijector.forward_event_shape, bijector.inverse_event_shape):
        assert known(tf.TensorShape(shape)) == shape
    for known in (bijector.forward_event_shape_tensor, bijector.inverse_event_shape_tensor):
        np.testing.assert_array_equal(known(shape), shape)
    assert bijector.forward_min_event_ndims == len(entry.event_shape)
    assert bijector.inverse_min_event_ndims == len(entry.event_shape)
    assert bijector.forward_dtype(tf.float64) == tf.float64
    assert bijector.experimental_batch_shape() == []
    np.testing.assert_array_equal(bijector.experimental_batch_shape_tensor(), [])
    flow = transformed(bijector, entry)
    assert flow.event_shape == list(entry.event_shape)
    assert flow.batch_shape == []
    assert flow.dtype == tf.float64


@each_setting
def test_ops_are_in_the_scope_of_the_bijector(entry):
    bijector = shared_bijector(entry)
    assert bijector.name
    assert "/" not in bijector.name
    kwargs = entry.conditioning(rows(entry))
    run = tf.function(lambda u: bijector.forward(u, **kwargs), autograph=False)
    u = tf.zeros([*rows(entry), *entry.event_shape], "float64")
    scope = f"{bijector.name}/forward/"
    if hasattr(bijector, "bijector"):  # tfb.Invert is in no scope of its own
        scope = f"{bijector.bijector.name}/inverse/"
    names = [op.name for op in run.get_concrete_function(u).graph.get_operations()]
    assert any(name.startswith(scope) for name in names), sorted({n.split("/")[0] for n in names})


@each_flow
def test_validate_args_finds_nans(entry):
    flow = shared_bijector(entry).copy(validate_args=True)
    u, x, kwargs = points(flow, entry, rows(entry))
    assert_all_close(
        all_four(flow, entry, u, x, kwargs),
        all_four(shared_bijector(entry), entry, u, x, kwargs),
        **EXACT,
    )
    for bad in (np.nan, np.inf):
        value = tf.concat([u[1:], tf.fill([1, *entry.event_shape], tf.cast(bad, u.dtype))], 0)
        error = tf.errors.InvalidArgumentError
        with pytest.raises(error, match="x: expected finite values"):
            flow.forward(value, **kwargs)
        with pytest.raises(error, match="y: expected finite values"):
            flow.inverse(value, **kwargs)
        with pytest.raises(error, match="y: expected finite values"):
            tf.function(flow.inverse, autograph=False)(value, **kwargs)
        with pytest.raises(error, match="y: expected finite values"):
            flow.inverse_log_det_jacobian(value, **kwargs)
    if entry.conditional:
        broken = tf.nest.map_structure(lambda c: c * tf.cast(np.nan, c.dtype), kwargs)
        with pytest.raises(error, match="conditional_input: expected finite values"):
            flow.inverse(tf.identity(u), **broken)
