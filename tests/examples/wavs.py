"""Sound to test with."""

import numpy as np
import tensorflow as tf


def write_wav(path, samples, rate=8000):
    """Writes integers [n] or [n, channels] as 16-bit PCM."""
    audio = np.asarray(samples, np.float32).reshape([len(samples), -1]) / 2**15
    tf.io.write_file(str(path), tf.audio.encode_wav(audio, rate))
