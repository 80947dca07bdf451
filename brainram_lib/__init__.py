"""The BrainRAM workbench."""
