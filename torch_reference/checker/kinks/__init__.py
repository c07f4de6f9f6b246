"""Whether a difference is due to a kink of the loss, and a valid subgradient there. Knows what is below."""
