"""Conditioning: parsed once, bound to a whole stack, and forwarded through any composition.

Nothing here knows a flow by its class. A bijector or distribution says what it takes by its
attributes:

* `network` and `conditional_input` (property and constructor argument): it holds a network that
  `bind` conditions;
* `takes_kwargs`, a mapping from each keyword argument of its methods to whether leaving it out may
  change the answer: what `forwarding` hands down to it.
"""

from tfp_ar.conditioning.bind import bind
from tfp_ar.conditioning.forwarding import log_prob

__all__ = ["bind", "log_prob"]
