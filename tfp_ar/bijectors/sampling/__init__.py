"""Sampling of flows, by a sequential pass or fixed-point iteration, with gradients of both."""
