"""A bijector cache that gives no stale answers."""

import weakref

import tensorflow as tf
from tensorflow_probability.python.internal import cache_util

from tfp_ar.internal import tf_private


class FlowCache(cache_util.BijectorCacheWithGreedyAttrs):
    """Remembers pairs (u, x) of one bijector and their log-det, as long as they are right.

    TFP's own cache knows tensors only: after a weight update, it goes on to return what the old
    weights gave; with a pair that was computed outside a gradient tape, it breaks the gradient of
    what is computed inside. It cannot be left out either: `TransformedDistribution.log_prob(x)`
    asks for inverse(x), then for the log-det at the result, which without a cache takes a whole
    sampling. So each pair also holds the state of the weights, and a pair is forgotten when it no
    longer fits.

    Args:
      bijector: a StatefulBijector that has `_augmented_forward` and `_augmented_inverse`, which
        return the transformed tensor and a dict of attributes ('ildj' among them, if known).
    """

    def __init__(self, bijector):
        super().__init__("_augmented_forward", "_augmented_inverse")
        # The base class would hash and compare the bijector with each entry; one cache a bijector
        # needs neither.
        self._owner = weakref.ref(bijector)

    def _invoke(self, input, fn_name, kwargs, attributes):
        owner = self._owner()
        output, attrs = getattr(owner, fn_name)(input, **kwargs)
        attributes.update(attrs, source=fn_name, change=owner.change_counter())
        return output

    def _get_or_create_edge(self, input, forward_name, kwargs):
        edge = super()._get_or_create_edge(input, forward_name, kwargs)
        if "change" in edge.attributes and not self._is_valid(edge, forward_name, kwargs):
            for reference in (edge.input_ref, edge.output_ref):
                if reference is not None and self.storage.pop(reference, None):
                    reference.cancel()
            edge = super()._get_or_create_edge(input, forward_name, kwargs)
        return edge

    def _is_valid(self, edge, asked_name, kwargs) -> bool:
        owner, attributes = self._owner(), edge.attributes
        if attributes["change"] != owner.change_counter():
            return False
        if not tf_private.tape_is_active():
            return True
        asked = edge.input_ref()
        other = edge.output_ref() if edge.output_ref else None
        was_input = attributes["source"] == asked_name
        inputs, outputs = ([asked], [other]) if was_input else ([other], [asked])
        if "ildj" in attributes:
            outputs.append(attributes["ildj"])
        if inputs == [None]:
            return False
        inputs += [part for part in tf.nest.flatten(kwargs) if tf.is_tensor(part)]
        tensors, variables = owner._sources()
        watched = tf_private.gradient_order([*inputs, *tensors], variables)
        # A tape that watches what the pair was computed from, but not the pair, was opened later.
        return all(
            tf_private.gradient_order([output], []) == watched
            for output in outputs
            if output is not None
        )


class PairCache(FlowCache):
    """Remembers pairs alone, of a bijector whose log-det is not worth remembering."""

    def forward_attributes(self, x, **kwargs):
        """None is known, and none will be."""
        return {}

    inverse_attributes = forward_attributes
