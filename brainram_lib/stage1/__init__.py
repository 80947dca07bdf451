"""Stage I, from betas to CLIP tokens: ridge, projector, diffusion prior, their losses and training."""
