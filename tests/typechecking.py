"""The checker of shapes and types that tests put on the whole package; see --jaxtyping-packages in pyproject.toml."""

from beartype import BeartypeConf, beartype

# An int is welcome where a float is asked for, as everywhere in Python.
check = beartype(conf=BeartypeConf(is_pep484_tower=True))
