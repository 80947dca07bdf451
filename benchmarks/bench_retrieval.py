"""Exact search: faiss against the plain full matrix of numpy, in one run.

    python benchmarks/bench_retrieval.py [--items 12000] [--width 128] [--queries 1200] [--k 4] [--repeats 5]

The two take turns, and the figure printed is the median of their ratios, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import statistics
import time

import faiss
import numpy as np

from brainram_lib.retrieval.index import VectorIndex, search_reference


def unit_rows(rng: np.random.Generator, rows: int, width: int) -> np.ndarray:
    """Random directions."""
    vectors = rng.normal(size=(rows, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def seconds(run) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    """Time both searches in turn and print medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("items", 12_000), ("width", 128), ("queries", 1200), ("k", 4), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    items, queries = unit_rows(rng, given.items, given.width), unit_rows(rng, given.queries, given.width)
    index = VectorIndex.build([items])
    agree = np.mean(index.search(queries, given.k).ids == search_reference(items, queries, given.k).ids)
    pairs = [
        (seconds(lambda: index.search(queries, given.k)), seconds(lambda: search_reference(items, queries, given.k)))
        for _ in range(given.repeats)
    ]
    print(
        f"{given.items} items x {given.width}, {given.queries} queries, k = {given.k}, faiss {faiss.__version__}, "
        f"{faiss.omp_get_max_threads()} thread(s)"
    )
    print(f"faiss exact    {statistics.median(fast for fast, _ in pairs):.3f} s")
    print(f"numpy matrix   {statistics.median(slow for _, slow in pairs):.3f} s")
    print(f"ratio          {statistics.median(slow / fast for fast, slow in pairs):.1f} (median of {given.repeats})")
    print(f"same neighbours {100 * agree:.2f} %")


if __name__ == "__main__":
    main()
