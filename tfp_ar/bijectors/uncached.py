"""A bijector cache that remembers nothing."""

import weakref


class Uncached:
    """Stands in for TFP's cache in a bijector whose parts have caches of their own.

    Args:
      bijector: has `_forward` and `_inverse`.
    """

    def __init__(self, bijector):
        self._owner = weakref.ref(bijector)

    def forward(self, x, **kwargs):
        """Calls the bijector."""
        return self._owner()._forward(x, **kwargs)

    def inverse(self, y, **kwargs):
        """Calls the bijector."""
        return self._owner()._inverse(y, **kwargs)

    def forward_attributes(self, x, **kwargs):
        """No attributes are known."""
        return {}

    inverse_attributes = forward_attributes

    def clear(self):
        """There is nothing to clear."""
