"""The documentation site: README, docs, notebooks and docstrings as one tree of sources that Sphinx builds."""
