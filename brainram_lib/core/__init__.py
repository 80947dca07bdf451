"""What other packages build on: saved results and their keys, atomic writes, the training loop, ridge, whitening."""
