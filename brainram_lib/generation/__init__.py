"""Pictures from brain-decoded tokens: Versatile Diffusion, sampling, and choosing among samples."""
