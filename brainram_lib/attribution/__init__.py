"""Which voxels drive a decoder: integrated gradients of what its estimates say, with respect to the betas."""
