"""How a flow samples: one sequential pass, or fixed-point iteration; with gradients of either."""
