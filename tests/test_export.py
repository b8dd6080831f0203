"""export_saved_model: its files give the same results in a process that has TensorFlow alone."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_ar
from tests import helpers
from tests.dequantizers.examples import noise
from tests.networks.pixel_examples import balanced_pixels
from tests.training.models import BOTH, LENGTH, both_conditions, conditions, reals
from tfp_ar.bijectors import Bounded, Chain
from tfp_ar.distributions import LogisticMixtureHead

# In one of pytest-xdist's workers: the fixture that exports all models takes most of the time.
pytestmark = pytest.mark.xdist_group("export")

tfb, tfd = tfp.bijectors, tfp.distributions
SEED = np.array([1, 2], np.int32)
ROWS = 5


def network(seed=1, **kwargs):
    """With random weights."""
    settings = {"residual_channels": 4, "dilations": [1], **kwargs}
    return helpers.randomize(tfp_ar.networks.WaveNet([LENGTH], **settings), 0.4, seed)


def flow(bijectors, dtype="float32"):
    """Around a base with a variable."""
    loc = tf.Variable(tf.fill([LENGTH], tf.constant(0.5, dtype)))
    base = tfd.Independent(tfd.Normal(loc, tf.ones([], dtype)), 1)
    return tfd.TransformedDistribution(base, Chain(bijectors))


def ar(seed=1, jit_compile=False, **kwargs):
    return tfp_ar.ARFlowBijector(network(seed, **kwargs), jit_compile=jit_compile)


def integer_flow(**kwargs):
    return flow([Bounded(0, 8), ar(**kwargs)])


def levels(net, head=None, jit_compile=False):
    """A distribution of the integers 0..2, in int32 unless another head says so."""
    return tfp_ar.AutoregressiveDistribution(
        net,
        head or (lambda p: tfd.Categorical(logits=p)),
        lambda x: x - 1.0,
        jit_compile=jit_compile,
    )


def pixels(kind, **kwargs):
    """A pixel network with random weights."""
    return balanced_pixels(kind, "plain", **{"num_layers": 2, "filters": 4, **kwargs})


MODELS = {
    "no_network": lambda: tfd.Normal(tf.Variable(2.0), tf.Variable(0.5)),
    "flow": lambda: flow([ar(jit_compile=True)]),
    "float64": lambda: flow([ar(dtype="float64")], "float64"),
    "conditional": lambda: flow([ar(conditional_shape=[3])]),
    "both": lambda: flow([ar(conditional_shape=BOTH)]),
    "stack": lambda: flow(
        [ar(1, conditional_shape=[3]), tfb.Permute([3, 2, 1, 0]), ar(2, conditional_shape=[3])]
    ),
    "integers": lambda: tfp_ar.Dequantized(integer_flow()),
    "integers_4": lambda: tfp_ar.Dequantized(
        integer_flow(conditional_shape=[3]), num_importance_samples=4
    ),
    "learned_noise": lambda: tfp_ar.Dequantized(integer_flow(), noise("float32", LENGTH, high=8)),
    "bound": lambda: tfp_ar.bind(flow([ar(conditional_shape=[3])]), conditions(3)),
    "levels": lambda: levels(network(num_params=3), jit_compile=True),
    "levels_conditional": lambda: levels(network(num_params=3, conditional_shape=[3])),
    "pixels": lambda: levels(
        pixels("classical", event_shape=[2, 2, 3], num_params=6), LogisticMixtureHead(2, 0, 2)
    ),
    "pixels_conditional": lambda: levels(
        pixels("gated", event_shape=[3, 2, 1], num_params=3, conditional_shape=[3])
    ),
}

CHILD = """
import sys
import numpy as np
import tensorflow as tf

folder = sys.argv[1]
inputs, outputs = dict(np.load(folder + "/inputs.npz")), {}
models = {}
for call in sorted({key.rsplit("/", 1)[0] for key in inputs}):
    name, signature, _ = call.split("/")
    if name not in models:
        models[name] = tf.saved_model.load(folder + "/" + name)
    named = {k.rsplit("/", 1)[1]: tf.constant(v) for k, v in inputs.items() if k.startswith(call)}
    outputs[call] = models[name].signatures[signature](**named)[signature].numpy()
unwanted = {"tfp_ar", "tensorflow_probability", "tests"}
assert not [name for name in sys.modules if name.split(".")[0] in unwanted]
np.savez(folder + "/outputs.npz", **outputs)
"""


def outside(folder):
    """The environment of a process that knows nothing of this checkout."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    return {"cwd": folder, "env": {**environment, "CUDA_VISIBLE_DEVICES": ""}}


def arguments(name, distribution, rows):
    """(value, conditioning or None) of that many rows."""
    kind = {"both": both_conditions, "conditional": conditions, "stack": conditions}
    kind |= {"integers_4": conditions, "levels_conditional": conditions}
    kind |= {"pixels_conditional": conditions}
    condition = kind.get(name)
    shape = [rows, *distribution.batch_shape, *distribution.event_shape]
    number = {tfp_ar.Dequantized: 8, tfp_ar.AutoregressiveDistribution: 3}.get(type(distribution))
    if number is None:
        value = helpers.normal(shape, distribution.dtype).numpy()
    else:
        value = np.random.default_rng(0).integers(0, number, shape)
    return value.astype(distribution.dtype.as_numpy_dtype), condition and condition(rows)


def named_parts(condition):
    """As the signatures name them."""
    if condition is None:
        return {}
    if isinstance(condition, dict):
        return {f"conditional_input_{kind}": part for kind, part in condition.items()}
    return {"conditional_input": condition}


def calls_of(name, distribution):
    """Name of a call -> its named inputs, and what the distribution itself gives."""
    for rows in (0, 1, ROWS, 7) if name == "conditional" else (ROWS,):
        value, condition = arguments(name, distribution, rows)
        parts = named_parts(condition)
        bound = distribution if condition is None else tfp_ar.bind(distribution, condition)
        noise = {"seed": SEED} if isinstance(distribution, tfp_ar.Dequantized) else {}
        inputs = {"value": value, **parts, **noise}
        yield f"{name}/log_prob/{rows}", inputs, bound.log_prob(value, **noise).numpy()
        if rows:
            inputs = {"n": np.int32(3), "seed": SEED, **parts}
            yield f"{name}/sample/{rows}", inputs, bound.sample(3, seed=SEED).numpy()


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """(folder, what is wanted of each call, what the process without tfp_ar gave)."""
    folder = tmp_path_factory.mktemp("exported")
    inputs, want = {}, {}
    for name, make in MODELS.items():
        distribution = make()
        tfp_ar.export_saved_model(distribution, folder / name)
        for call, named, expected in calls_of(name, distribution):
            want[call] = expected
            inputs |= {f"{call}/{key}": value for key, value in named.items()}
        # What happens to the weights later is not in the file.
        for variable in distribution.variables:
            if variable.dtype.is_floating:
                variable.assign(variable + 1.0)
    np.savez(folder / "inputs.npz", **inputs)
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        **outside(folder),
    )
    assert done.returncode == 0, done.stderr
    with np.load(folder / "outputs.npz") as outputs:
        return folder, want, dict(outputs)


@pytest.mark.parametrize("name", MODELS)
def test_a_process_with_tensorflow_alone_gives_the_same(served, name):
    _, want, got = served
    calls = [call for call in want if call.startswith(f"{name}/")]
    assert len(calls) >= 2
    for call in calls:
        assert got[call].dtype == want[call].dtype
        assert got[call].shape == want[call].shape
        tolerance = 1e-12 if name == "float64" else 2e-5
        np.testing.assert_allclose(got[call], want[call], tolerance, tolerance, err_msg=call)


def cli(folder, *args):
    """Runs saved_model_cli as a user does; returns what it prints."""
    program = pathlib.Path(sys.executable).parent / "saved_model_cli"
    done = subprocess.run(
        [program, *args], capture_output=True, text=True, timeout=300, **outside(folder)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow  # starts TensorFlow and its command line once more
def test_saved_model_cli(served):
    folder, want, _ = served
    run = ["run", "--dir", str(folder / "no_network"), "--tag_set", "serve", "--overwrite"]
    signature = ["--signature_def", "sample", "--input_exprs", "n=3;seed=[1,2]"]
    cli(folder, *run, *signature, "--outdir", str(folder))
    sample = np.load(folder / "sample.npy")
    np.testing.assert_allclose(sample, want["no_network/sample/5"], rtol=1e-6)


def loaded(served, name):
    return tf.saved_model.load(str(served[0] / name))


def test_signatures(served):
    signatures = loaded(served, "both").signatures
    assert set(signatures) == {"log_prob", "sample"}
    specs = signatures["log_prob"].structured_input_signature[1]
    parts = {"conditional_input_global": [None, 3], "conditional_input_local": [None, LENGTH, 2]}
    assert {k: s.shape.as_list() for k, s in specs.items()} == {"value": [None, LENGTH], **parts}
    specs = signatures["sample"].structured_input_signature[1]
    assert {k: s.shape.as_list() for k, s in specs.items()} == {"n": [], "seed": [2], **parts}
    specs = loaded(served, "bound").signatures["log_prob"].structured_input_signature[1]
    assert {k: s.shape.as_list() for k, s in specs.items()} == {"value": [None, 3, LENGTH]}


def test_another_seed_gives_other_samples(served):
    sample = loaded(served, "integers").signatures["sample"]
    draws = [
        sample(n=tf.constant(50), seed=tf.constant([1, k]))["sample"].numpy() for k in (0, 1, 0)
    ]
    np.testing.assert_array_equal(draws[0], draws[2])
    assert np.any(draws[0] != draws[1])
    assert len(np.unique(draws[0], axis=0)) > 10


def test_variables_are_in_the_file_once(served):
    # The base's and the network's: nothing else, and none as a constant in the graph.
    model = loaded(served, "flow")
    shapes = [
        [v.shape.as_list() for v in held] for held in (model.held, MODELS["flow"]().variables)
    ]
    assert sorted(shapes[0]) == sorted(shapes[1])
    value = tf.constant(reals(2))
    before = model.signatures["log_prob"](value=value)["log_prob"]
    for variable in model.held:
        was = tf.identity(variable)
        variable.assign(was + 0.5)
        changed = model.signatures["log_prob"](value=value)["log_prob"]
        assert np.any(changed != before), variable.name
        variable.assign(was)


WRONG = {
    "event": ({"value": np.ones([2, 7])}, "input_value"),
    "event_that_would_broadcast": ({"value": np.ones([2, 1])}, "input_value"),
    "no_batch": ({"value": np.ones([LENGTH])}, "input_value"),
    "condition": ({"conditional_input": np.ones([2, 1])}, "input_conditional_input"),
    "seed": ({"seed": np.array([1])}, "input_seed"),
}


@pytest.mark.parametrize("wrong, name", WRONG.values(), ids=WRONG.keys())
def test_wrong_shapes_are_named(served, wrong, name):
    log_prob = loaded(served, "integers_4").signatures["log_prob"]
    good = {"value": np.ones([2, LENGTH]), "conditional_input": np.ones([2, 3]), "seed": SEED}
    dtypes = {"value": tf.float32, "conditional_input": tf.float32, "seed": tf.int32}
    tensors = {k: tf.constant(v, dtypes[k]) for k, v in (good | wrong).items()}
    with pytest.raises((tf.errors.InvalidArgumentError, ValueError), match=name):
        log_prob(**tensors)


def test_conditioning_that_is_missing_or_not_wanted(served):
    seed, n = tf.constant(SEED), tf.constant(2)
    with pytest.raises(TypeError, match="conditional_input"):
        loaded(served, "conditional").signatures["sample"](n=n, seed=seed)
    with pytest.raises(TypeError, match="conditional_input"):
        loaded(served, "flow").signatures["sample"](
            n=n, seed=seed, conditional_input=tf.ones([2, 3])
        )
    with pytest.raises(tf.errors.InvalidArgumentError, match="input_conditional_input"):
        loaded(served, "conditional").signatures["sample"](
            n=n, seed=seed, conditional_input=tf.ones([2, 5])
        )


def test_an_old_export_is_replaced(tmp_path):
    for loc in (0.0, 3.0):
        tfp_ar.export_saved_model(tfd.Normal(tf.Variable(loc), 1.0), str(tmp_path / "new" / "a"))
    model = tf.saved_model.load(str(tmp_path / "new" / "a"))
    assert float(model.held[0]) == 3.0
    assert not list(tmp_path.glob("**/.writable"))


def test_frozen_variables_are_exported(tmp_path):
    distribution = flow([tfb.Shift(tf.Variable([9.0] * LENGTH, trainable=False))])
    tfp_ar.export_saved_model(distribution, tmp_path)
    log_prob = tf.saved_model.load(str(tmp_path)).signatures["log_prob"]
    x = tf.constant(reals(2))
    np.testing.assert_allclose(log_prob(value=x)["log_prob"], distribution.log_prob(x), rtol=1e-6)


# Bad arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong", [None, tfb.Exp(), "flow", tfp_ar.DensityModel(tfd.Normal(0.0, 1.0))]
)
def test_not_a_distribution(wrong, tmp_path):
    with pytest.raises(TypeError, match="distribution: expected a tfd.Distribution, got"):
        tfp_ar.export_saved_model(wrong, tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_unknown_shapes(tmp_path):
    unknown = tfd.Normal(tf.Variable(np.zeros(3, np.float32), shape=[None]), 1.0)
    with pytest.raises(ValueError, match="distribution: expected a known batch_shape, got"):
        tfp_ar.export_saved_model(unknown, tmp_path)
    with pytest.raises(ValueError, match="distribution: expected a known event_shape, got"):
        tfp_ar.export_saved_model(tfd.Independent(unknown, 1), tmp_path)


def test_flows_of_different_conditioning(tmp_path):
    stack = flow([ar(1, conditional_shape=[3]), ar(2, conditional_shape=[2])])
    with pytest.raises(ValueError, match="distribution: expected flows with one conditional_shape"):
        tfp_ar.export_saved_model(stack, tmp_path / "model")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "below", tmp_path / "file"):
        with pytest.raises(
            ValueError, match="directory: expected a folder that can be written, got"
        ):
            tfp_ar.export_saved_model(tfd.Normal(0.0, 1.0), path)


@pytest.mark.parametrize("wrong", ["", 3, None, ["a"]])
def test_not_a_path(wrong):
    with pytest.raises(ValueError, match="directory: expected a path, got"):
        tfp_ar.export_saved_model(tfd.Normal(0.0, 1.0), wrong)


def test_under_a_global_policy(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    distribution = flow([ar()])
    tfp_ar.export_saved_model(distribution, tmp_path)
    log_prob = tf.saved_model.load(str(tmp_path)).signatures["log_prob"]
    x = tf.constant(reals(2))
    got = log_prob(value=x)["log_prob"]
    np.testing.assert_allclose(got, distribution.log_prob(x), rtol=1e-5)
