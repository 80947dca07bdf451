"""The stages as values, the sources of data and weights, and `run`, which names the stages of one run."""
