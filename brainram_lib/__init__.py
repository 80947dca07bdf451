"""The BrainRAM workbench."""

import os

# PyTorch's threads spin at their barriers: beside other work on the same cores they then stand still. Read when torch
# is imported, so what a user has set or imported before stays.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "0")
