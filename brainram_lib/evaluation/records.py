"""Scores as records: one number with its interval, and whose it is. Tables and figures are made from lists of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from brainram_lib.evaluation.intervals import bootstrap_interval, paired_difference
from brainram_lib.evaluation.permutation import ALPHA, holm, sign_flip_p

# Per-image scores by system and metric.
Values = dict[str, dict[str, Float[np.ndarray, " n"]]]


@dataclass(frozen=True)
class Record:
    """One score.

    Attributes:
        system: 'brainram', 'ridge', 'chance', ...
        metric: a name of `catalogue.ALL`.
        value: the mean over images.
        low: lower end of the 95 % interval over images.
        high: its upper end.
        n: images scored.
        subject: the subject's number.
        seed: the seed of the run.
    """

    system: str
    metric: str
    value: float
    low: float
    high: float
    n: int
    subject: int
    seed: int


@dataclass(frozen=True)
class Difference(Record):
    """How much one system scores above another on the same images: a record of a system called '<one> over <other>'.

    Attributes:
        p: of the sign-flip test (`permutation`), before any correction.
        agreeing: subjects whose own difference has the sign of the mean.
        subjects: how many subjects there are.
    """

    p: float
    agreeing: int = 1
    subjects: int = 1

    def remains(self, corrected: float) -> bool:
        """Whether it differs from 0: by the corrected test, and by the interval, which also covers seeds."""
        return corrected < ALPHA and (self.low > 0 or self.high < 0)


def corrected(family: Sequence[Difference]) -> list[float]:
    """Each difference's p after Holm's correction for all that are given."""
    return holm(np.array([one.p for one in family], np.float64)).tolist()


def record(system: str, metric: str, values: Float[np.ndarray, " n"], *, subject: int, seed: int) -> Record:
    """The record of per-image values, with a bootstrap interval over images."""
    interval = bootstrap_interval(np.asarray(values, np.float64))
    return Record(system, metric, *interval, n=len(values), subject=subject, seed=seed)


def records_of(system: str, scores: Mapping[str, Float[np.ndarray, " n"]], *, subject: int, seed: int) -> list[Record]:
    """One record for each entry of {metric: per-image values}, as `Evaluator.score` returns them."""
    return [record(system, metric, values, subject=subject, seed=seed) for metric, values in scores.items()]


def leads(system: str, other: str, values: Values, *, subject: int, seed: int) -> list[Difference]:
    """How much a system scores above another, metric by metric.

    Differences are taken image by image, so what makes an image hard for both systems cancels: the interval over images
    says how large the lead is, the sign-flip test whether it differs from zero, which two overlapping intervals cannot.
    Where less is better, the better system's difference is below zero.
    """
    of, name = (subject, seed), f"{system} over {other}"
    return [_lead(name, metric, scores, values[other][metric], of) for metric, scores in values[system].items()]


def _lead(name: str, metric: str, first: np.ndarray, second: np.ndarray, of: tuple[int, int]) -> Difference:
    interval = paired_difference(first, second)
    (p,) = sign_flip_p((np.asarray(first, np.float64) - second)[None])
    return Difference(name, metric, *interval, len(first), *of, p=float(p))


def known(system: str, metric: str, value: float, *, n: int, subject: int, seed: int) -> Record:
    """The record of a number that is known and not measured, such as chance: its interval is a point."""
    return Record(system, metric, value, value, value, n, subject, seed)
