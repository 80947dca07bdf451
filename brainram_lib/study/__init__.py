"""A user's own data, without NSD's layout: betas, pictures and captions in a folder that `data.toml` describes."""
