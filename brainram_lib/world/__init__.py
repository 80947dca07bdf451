"""The embedded world: drawn scenes, simulated brains, the writer of NSD's layout, the shipped models."""
