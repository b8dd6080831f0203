"""Settings for every test: quiet TensorFlow, fixed seeds, full float32 products."""

import gc
import os

# Read when TensorFlow is imported, hence before it is.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")  # pytest's workers share the memory

import keras
import pytest
import tensorflow as tf

from tests import helpers

gc.freeze()  # what the imports made stays; the collector need not look through it each time
tf.get_logger().setLevel("ERROR")
tf.random.set_seed(20240817)
tf.config.experimental.enable_tensor_float_32_execution(False)  # TF32 has 3 digits, tests want 6


@pytest.fixture(autouse=True)
def fixed_seeds_and_global_settings():
    """Every test starts from the same seeds and leaves Keras' global settings as they were."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    helpers.set_seed(20240817)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_floatx(floatx)
    tf.config.run_functions_eagerly(False)
