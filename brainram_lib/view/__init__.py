"""Figures of the cortex, galleries, curves, and the browser of neighbours."""
