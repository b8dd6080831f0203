"""Stacks of flows in different directions, as one bijector."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_ar.bijectors.act_norm import ActNorm
from tfp_ar.bijectors.ar_flow_bijector import ARFlowBijector
from tfp_ar.bijectors.chain import Chain
from tfp_ar.internal import checks
from tfp_ar.networks.flipped import Flipped
from tfp_ar.networks.layer_network import as_network

tfb = tfp.bijectors


def stack(
    make_network: Callable[[int], keras.Layer],
    num_flows: int,
    event_shape: Sequence[int] | None = None,
    bijector_fn: Callable[[tf.Tensor], tfb.Bijector] | None = None,
    actnorm: bool = True,
    actnorm_axis: int | Sequence[int] = -1,
    outer: tfb.Bijector | None = None,
    directions: Iterable[Sequence[int]] | None = None,
    name: str = "stack",
    **flow_kwargs: Any,
) -> Chain:
    """Stacks flows whose networks go through the variables in different directions.

        x = outer(actnorm_0(flow_0(actnorm_1(flow_1(...)))))

    In a single affine autoregressive flow the first variable is Gaussian whatever the weights, and
    so is the second one given the first. Of two flows in opposite directions, each can express what
    the other cannot. Flow k is on `make_network(k)`, seen through `networks.Flipped` in direction
    k. The directions are taken in turn:

    * events [L], [L, C] and all others but images: the network's own direction, and the exact
      opposite (time and channels reversed: if channels kept their order, a channel would never see
      those after it).
    * images [H, W, C]: from the upper left corner; from the lower right one, the exact opposite
      (channels included); from the upper right one; from the lower left one, the opposite of that.

    x and conditioning stay as they are: the networks flip them, local conditioning too, so that the
    same `conditional_input` fits all flows.

    Args:
      make_network: function k -> a new AutoregressiveNetwork (or another Keras layer that
        ARFlowBijector takes). Its seeds should differ with k.
      num_flows: the number of flows.
      event_shape: the shape of one x, for layers that do not know it. Default None.
      bijector_fn: the transformer of all flows, as in ARFlowBijector. Default None: affine.
      actnorm: whether to put an ActNorm on the data side of each flow. Set them with
        `tfp_ar.bijectors.initialize` before training. Default True.
      actnorm_axis: the `axis` of each ActNorm. Default -1: one scale and shift per channel (per
        variable of [L]); [] is one scale and shift for all variables.
      outer: the outermost tfb.Bijector, such as `Bounded(0, 256)` for levels. Default None.
      directions: sequences of the axes to reverse, e.g. [[], [0]], taken in turn. Default None: the
        directions above.
      name: name of the chain. Default 'stack'.
      **flow_kwargs: further arguments of each ARFlowBijector: `sampling`, `jit_compile`, ...

    Returns: a `tfp_ar.bijectors.Chain` of `outer`, ActNorms 'act_norm_k' and flows 'flow_k'.

    Raises:
      TypeError: if `make_network` is not a function, `outer` is not a bijector or `directions` is
        not a sequence.
      ValueError: if two networks are the same object, or they differ in event shape, dtype or
        conditioning; if `directions` is empty or does not fit the event shape.

    Cost: log_prob takes one parallel pass per flow, sampling one sequential pass per flow.

    References:
      G. Papamakarios et al., Masked autoregressive flow for density estimation, arXiv:1705.07057,
        2017, section 3.1.

    >>> def make_network(k):
    ...     keras.utils.set_random_seed(k)
    ...     return tfp_ar.networks.PixelCNN([2, 2, 1], filters=4, num_layers=2)
    >>> chain = stack(make_network, num_flows=4, outer=Bounded(0, 256))
    >>> for bijector in chain.bijectors[2::2]:
    ...     print(bijector.name, bijector.network.order)
    flow_0 [0 1 2 3]
    flow_1 [3 2 1 0]
    flow_2 [1 0 3 2]
    flow_3 [2 3 0 1]
    """
    if not callable(make_network) or isinstance(make_network, keras.Layer):
        raise TypeError(f"make_network: expected a function of k, got {make_network!r}.")
    num_flows = checks.positive_int("num_flows", num_flows)
    if outer is not None and not isinstance(outer, tfb.Bijector):
        raise TypeError(f"outer: expected a tfb.Bijector or None, got {outer!r}.")
    networks = [as_network(make_network(k), event_shape) for k in range(num_flows)]
    _check_networks(networks)
    event_shape, dtype = networks[0].event_shape, networks[0].variable_dtype
    directions = _directions(directions, len(event_shape))
    bijectors = [] if outer is None else [outer]
    for k, network in enumerate(networks):
        if actnorm:
            bijectors.append(ActNorm(event_shape, actnorm_axis, dtype=dtype, name=f"act_norm_{k}"))
        axes = directions[k % len(directions)]
        network = Flipped(network, axes) if axes else network
        bijectors.append(ARFlowBijector(network, bijector_fn, name=f"flow_{k}", **flow_kwargs))
    return Chain(bijectors, name=name)


def _directions(directions, rank) -> list[tuple[int, ...]]:
    """Returns the axes to reverse in each direction, to be taken in turn."""
    if directions is None:
        everything = tuple(range(rank))
        return [(), everything, (1,), (0, 2)] if rank == 3 else [(), everything]
    if isinstance(directions, str) or not isinstance(directions, Iterable):
        raise TypeError(f"directions: expected a sequence of axes, got {directions!r}.")
    directions = [checks.axes(f"directions[{i}]", axes, rank) for i, axes in enumerate(directions)]
    if not directions:
        raise ValueError("directions: expected at least one, got none.")
    return directions


def _check_networks(networks):
    """Raises a ValueError unless the networks are different objects that fit together."""
    if len({id(network) for network in networks}) < len(networks):
        raise ValueError("make_network: expected a new network for each k, got one of them twice.")
    for what in ("event_shape", "variable_dtype"):
        found = [getattr(network, what) for network in networks]
        if any(value != found[0] for value in found):
            raise ValueError(f"make_network: expected networks of one {what}, got {found}.")
    shapes = [network.conditional_shape for network in networks if network.conditioning]
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError(f"make_network: expected one conditional_shape, got {shapes}.")
