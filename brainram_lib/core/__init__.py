"""What everything stands on: saved results and their keys, whole files, the one training loop, ridge, whitening."""
