"""The layers' formulas in NumPy, with one loop per index."""

import itertools

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


def convolution_at(x, kernel, rows, columns, bias=0.0):
    """The convolution of an image x [H, W, C] whose taps lie at these offsets; zeros outside."""
    height, width, _ = x.shape
    y = np.zeros([height, width, kernel.shape[-1]]) + bias
    for r, c in np.ndindex(height, width):
        for (i, row), (j, column) in itertools.product(enumerate(rows), enumerate(columns)):
            if 0 <= r + row < height and 0 <= c + column < width:
                y[r, c] += x[r + row, c + column] @ kernel[i, j]
    return y


def grouped_gate(z, groups):
    """`gate` of each group of channels alone."""
    return np.concatenate([gate(part) for part in np.split(z, groups, axis=-1)], axis=-1)


def groups_before(inputs, outputs, groups, itself):
    """Which channels a channel may see of its own pixel, bool [inputs, outputs]."""
    mask = np.zeros([inputs, outputs], bool)
    for i, o in np.ndindex(inputs, outputs):
        a, b = i // (inputs // groups), o // (outputs // groups)
        mask[i, o] = a <= b if itself else a < b
    return mask


def seen_at(shape, rows, columns) -> np.ndarray:
    """Which pixels taps at these offsets see from each of an image: bool [H, W, H, W]."""
    seen = np.zeros([*shape, *shape], bool)
    for r, c, row, column in itertools.product(*map(range, shape), rows, columns):
        if 0 <= r + row < shape[0] and 0 <= c + column < shape[1]:
            seen[r, c, r + row, c + column] = True
    return seen
