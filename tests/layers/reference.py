"""The layers' formulas, written out in NumPy, one loop for each index."""

import numpy as np


def causal_convolution(x, kernel, bias, dilation_rate=1, exclusive=False):
    """The convolution of x [L, C] with kernel [taps, C, filters], the newest tap last."""
    taps = len(kernel)
    y = np.zeros([len(x), kernel.shape[-1]]) + bias
    for t in range(len(x)):
        for j in range(taps):
            source = t - exclusive - (taps - 1 - j) * dilation_rate
            if source >= 0:
                y[t] += x[source] @ kernel[j]
    return y


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def gate(z):
    """tanh of the first half of the channels, times sigmoid of the second."""
    a, b = np.split(z, 2, axis=-1)
    return np.tanh(a) * sigmoid(b)


def channel_head(f, x, W, b, V, U, d):
    """Parameters [L, C, P] from features f [L, F] and x [L, C]; the weights as in ChannelHead."""
    length, channels = x.shape
    hidden = b.shape[-1]
    params = np.zeros([length, channels, U.shape[-1]])
    for t in range(length):
        for c in range(channels):
            a = f[t] @ W[:, c * hidden : (c + 1) * hidden] + b[c]
            for earlier in range(c):
                a = a + x[t, earlier] * V[earlier, c]
            params[t, c] = np.maximum(a, 0) @ U[c] + d[c]
    return params
