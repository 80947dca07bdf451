"""Metrics, identification, intervals over images, tables, and the rows that papers print."""
