"""The second part of docs/theory.md: the flow as a bijection, its Jacobians and density."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from keras import ops

from tests import helpers
from tests.distributions.examples import Raster, wavenet
from tfp_ar import ARFlowBijector, AutoregressiveDistribution
from tfp_ar.networks import GatedPixelCNN

tfb, tfd = tfp.bijectors, tfp.distributions
EXACT = {"rtol": 1e-9, "atol": 1e-9}  # float64
ACTIVATIONS = {"smooth": ops.tanh, "relu": ops.relu, "jumps": ops.sign}


class Activated(Raster):
    """A Raster with another activation in place of tanh."""

    def __init__(self, event_shape, activation, **kwargs):
        super().__init__(event_shape, num_params=2, dtype="float64", **kwargs)
        self.activation = ACTIVATIONS[activation]

    def call(self, x):
        n = self.event_size
        mask = np.triu(np.ones([n, n]), 1)[..., np.newaxis]
        h = ops.einsum("bj,jih->bih", ops.reshape(x, [-1, n]), self.seen * mask)
        params = ops.einsum("bih,ihp->bip", self.activation(h), self.output_kernel) + self.bias
        return ops.reshape(params, [-1, *self.event_shape, self.num_params])


def activated(activation, event_shape=(4,), scale=0.7, seed=3):
    """The network with random weights."""
    network = Activated(event_shape, activation)
    network.build()
    return helpers.randomize(network, scale, seed)


def of_two(activation):
    """Of two variables: the first is standard normal, mu and alpha of the other vary with it."""
    network = activated(activation, [2], scale=1.3, seed=1)
    network.bias.assign(tf.zeros_like(network.bias))
    return network


def flow(network, **kwargs):
    return ARFlowBijector(network, jit_compile=False, **kwargs)


def standard_normal(event_shape):
    return tfd.Sample(tfd.Normal(tf.zeros([], "float64"), 1.0), event_shape)


def mu_and_alpha(params):
    """Of the network's output: the log scale is bounded by 7."""
    return params[..., 0], 7.0 * tf.tanh(params[..., 1] / 7.0)


def normal_law(params):
    """The factor of one variable."""
    mu, alpha = mu_and_alpha(params)
    return tfd.Normal(mu, tf.exp(alpha))


def recursion(network, u):
    """x by the definition of T, variable after variable; events of one dimension."""
    x = np.zeros(u.shape)
    for i in range(u.shape[1]):
        mu, alpha = mu_and_alpha(network(tf.constant(x))[:, i])
        x[:, i] = mu + tf.exp(alpha) * u[:, i]
    return x


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_a_bijection_though_nothing_is_continuous(activation):
    """Theorem 2.1: T is the recursion, and has the inverse of the formula both ways; to 1e-9.

    Also where mu and alpha jump.
    """
    network = activated(activation)
    bijector, u = flow(network), helpers.normal([50, 4], "float64", seed=4)
    x = bijector.forward(u)
    np.testing.assert_allclose(x, recursion(network, u.numpy()), **EXACT)
    np.testing.assert_allclose(bijector.inverse(tf.identity(x)), u, **EXACT)
    # Onto: any x comes from some u.
    x = 3.0 * helpers.normal([50, 4], "float64", seed=5)
    u = bijector.inverse(x)
    mu, alpha = mu_and_alpha(network(x))
    np.testing.assert_allclose(u, (x - mu) * tf.exp(-alpha), **EXACT)
    np.testing.assert_allclose(bijector.forward(tf.identity(u)), x, **EXACT)


@pytest.mark.parametrize("activation", ["smooth", "relu"])
def test_both_jacobians(activation):
    """Proposition 2.2: both Jacobians entry by entry, by derivatives of mu and alpha; to 1e-9."""
    network = activated(activation)
    bijector, u = flow(network), helpers.normal([4], "float64", seed=6)
    x = tf.identity(bijector.forward(u[tf.newaxis])[0])
    by_u = helpers.jacobian(bijector.forward, u, size=4)
    by_x = helpers.jacobian(bijector.inverse, x, size=4)

    raw = network(x[tf.newaxis])[0]
    d_mu, d_raw = np.moveaxis(helpers.params_jacobian(network, x), 1, 0)
    alpha = mu_and_alpha(raw)[1].numpy()
    d_alpha = (1 - (alpha[:, np.newaxis] / 7.0) ** 2) * d_raw
    scale, u = np.exp(alpha)[:, np.newaxis], u.numpy()[:, np.newaxis]
    want_by_x = np.diag(1 / scale[:, 0]) - d_mu / scale - u * d_alpha
    want_by_u = np.diag(scale[:, 0])
    for i, j in np.ndindex(4, 4):
        if j < i:
            parts = d_mu[i, j:i] + u[i] * scale[i] * d_alpha[i, j:i]
            want_by_u[i, j] = parts @ want_by_u[j:i, j]
    for matrix, want in ((by_u, want_by_u), (by_x, want_by_x)):
        np.testing.assert_array_equal(np.triu(matrix, 1), 0.0)
        assert np.abs(np.tril(matrix, -1)).max() > 0.1
        np.testing.assert_allclose(matrix, want, **EXACT)
    np.testing.assert_allclose(by_u @ by_x, np.eye(4), **EXACT)
    np.testing.assert_allclose(np.linalg.slogdet(by_u)[1], alpha.sum(), **EXACT)


def plane(step=0.1, half_width=16.0):
    """The middles of small squares that cover the plane where densities here are: [N, 2]."""
    middles = np.arange(-half_width, half_width, step) + step / 2
    return np.stack(np.meshgrid(middles, middles, indexing="ij"), -1).reshape([-1, 2]), step**2


@pytest.mark.parametrize("activation", ["smooth", "relu"])
def test_the_density_has_mass_1(activation):
    """Theorem 2.3: the density integrates to 1 over the plane, by the midpoint rule to 1e-5."""
    network = of_two(activation)
    points, area = plane()
    density = tfd.TransformedDistribution(standard_normal([2]), flow(network))
    np.testing.assert_allclose(np.sum(density.prob(points)) * area, 1.0, atol=1e-5)


def gated_pixels():
    network = GatedPixelCNN([2, 3, 2], filters=4, num_layers=3, dtype="float64")
    return helpers.randomize(network, 0.4, seed=7)


@pytest.mark.parametrize(
    "make",
    [lambda: wavenet(2, length=6), gated_pixels, lambda: activated("jumps")],
    ids=["wavenet", "gated_pixel_cnn", "jumps"],
)
def test_flow_and_product_of_normals_have_one_density(make):
    """Theorem 2.4: log_prob of the flow is that of the product of normals; float64, 1e-9."""
    network = make()
    x = 2.0 * helpers.random_events(network, 7, seed=8)
    base = standard_normal(network.event_shape)
    of_flow = tfd.TransformedDistribution(base, flow(network)).log_prob(x)
    product = AutoregressiveDistribution(network, normal_law, jit_compile=False)
    np.testing.assert_allclose(of_flow, product.log_prob(x), **EXACT)
    assert np.std(of_flow) > 0.1


def test_samples_have_the_means_of_the_product():
    """Theorem 2.4: means of functions of samples of the flow are integrals of the product.

    100000 samples, 4 standard errors; the network has ReLUs.
    """
    network = of_two("relu")
    x = flow(network).forward(helpers.normal([100000, 2], "float64", seed=9)).numpy()
    points, area = plane()
    law = normal_law(network(tf.constant(points)))
    prob = tf.exp(tf.reduce_sum(law.log_prob(points), -1)).numpy() * area
    functions = {
        "mean": lambda v: v[:, 1],
        "product": lambda v: v[:, 0] * v[:, 1],
        "square": lambda v: v[:, 1] ** 2,
        "square on the right": lambda v: v[:, 1] ** 2 * (v[:, 0] > 0),
        "wave": lambda v: np.cos(2 * v[:, 0] - v[:, 1]),
        "corner": lambda v: 1.0 * ((v[:, 0] > 0) & (v[:, 1] > 0)),
    }
    for name, function in functions.items():
        values = function(x)
        error = values.std() / np.sqrt(len(values))
        assert abs(values.mean() - function(points) @ prob) < 4 * error, name


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_monotone_transformer_onto_the_positive_numbers(sign):
    """Theorem 2.5: x = exp(mu +- exp(alpha) u), increasing and decreasing; to 1e-9.

    A bijection from R^4 onto positive numbers, of triangular Jacobian; the law is a product of
    log-normals.
    """

    def transformer(params):
        mu, alpha = mu_and_alpha(params)
        return tfb.Chain([tfb.Exp(), tfb.Shift(mu), tfb.Scale(sign * tf.exp(alpha))])

    network = activated("smooth")
    bijector = flow(network, bijector_fn=transformer)
    u = helpers.normal([20, 4], "float64", seed=10)
    x = tf.identity(bijector.forward(u))
    assert np.all(x > 0)
    np.testing.assert_allclose(bijector.inverse(x), u, **EXACT)
    mu, alpha = mu_and_alpha(network(x))
    jacobian = helpers.jacobian(bijector.forward, u[0], size=4)
    np.testing.assert_array_equal(np.triu(jacobian, 1), 0.0)
    np.testing.assert_allclose(np.diag(jacobian), sign * x[0] * tf.exp(alpha[0]), **EXACT)
    product = tfd.Independent(tfd.LogNormal(mu, tf.exp(alpha)), 1).log_prob(x)
    of_flow = tfd.TransformedDistribution(standard_normal([4]), bijector).log_prob(x)
    np.testing.assert_allclose(of_flow, product, **EXACT)
