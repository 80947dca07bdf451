"""Stages of the compared systems: regions, single trials, start images, their networks."""
