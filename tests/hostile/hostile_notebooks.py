"""A notebook that declares a parameter of every kind."""

from __future__ import annotations

import json
from pathlib import Path

DECLARED = {
    **{"profile": "mini", "subject": 1, "seed": 0, "runs": None, "nsd_root": None, "corpus_root": None},
    **{"stimulus": 0, "k": 4, "plant": False, "rate": 0.5, "systems": ["ridge"]},
}
CELL = "\n".join(f"{name} = {value!r}" for name, value in DECLARED.items())
NAMES = "n.ipynb"


def write_notebook(path: Path, *sources: str) -> Path:
    cells = [
        {"cell_type": "code", "id": f"c{n}", "metadata": {"tags": ["parameters"] if n == 0 else []}}
        | {"source": source, "outputs": [], "execution_count": None}
        for n, source in enumerate(sources or (CELL,))
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": kernel, "cells": cells}))
    return path
