"""Networks and losses of the compared systems; their stages are in `pipeline/peers`."""
