"""Stage II, from an estimate and its neighbours to a refined estimate: the RAM, the other fusions, their training."""
