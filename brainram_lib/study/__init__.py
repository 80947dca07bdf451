"""Data of the user's own, without NSD's layout: betas, pictures and captions in a folder that `data.toml` describes."""
