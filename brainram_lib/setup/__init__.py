"""Environment, doctor, notebooks from the command line, rehearsal, the stages for a GPU, and the documentation site."""
