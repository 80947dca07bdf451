"""Does a prior denoise? Its error against the noise level, beside those from x alone and the condition alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from brainram_lib.stage1.calibration import LevelError, SampleReport
from brainram_lib.view.colours import LINES


def denoising_figure(errors: Mapping[str, Sequence[LevelError]], title: str) -> Figure:
    """One panel per prior: mean squared error of x_0 against the noise in x, both axes logarithmic."""
    figure = Figure(figsize=(4.6 * len(errors), 3.8), layout="constrained", facecolor="white")
    panels = figure.subplots(1, len(errors), squeeze=False)[0]
    for axes, (name, rows) in zip(panels, errors.items(), strict=True):
        noise = [row.noise for row in rows]
        lines = (
            ("the prior", [row.prior for row in rows]),
            ("the best multiple of x", [row.scaled for row in rows]),
            ("the condition alone", [row.condition for row in rows]),
        )
        for (colour, style), (label, values) in zip(LINES, lines, strict=False):
            axes.loglog(noise, values, style, color=colour, label=label, marker="o" if style == "-" else None, ms=4)
        axes.set(title=name, xlabel="standard deviation of the noise in x", ylabel="mean squared error of x_0")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.legend(fontsize=8, frameon=False, loc="lower right")
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=11, fontweight="bold")
    return figure


def denoising_said(name: str, rows: Sequence[LevelError]) -> str:
    """A sentence on whether the prior uses x at low noise and the condition at high noise."""
    least, most = rows[0], rows[-1]
    return (
        f"{name}: at noise {least.noise:.2g} the prior's error is {least.prior:.2g}, {least.prior / least.scaled:.2f} "
        f"times that of the best multiple of x; at noise {most.noise:.3g} it is {most.prior:.2g}, "
        f"{most.prior / most.condition:.2f} times that of the condition alone."
    )


def samples_said(name: str, report: SampleReport) -> str:
    """What the samples are like, in one sentence."""
    better = "lower" if report.energy < report.energy_of_mean else "not lower"
    return (
        f"{name}: squared error {report.one:.2f} for one sample, {report.of_mean:.2f} for the mean of "
        f"{report.samples}, {report.mean:.2f} for the mean of all; variance between samples {report.between:.2f}, "
        f"{report.between / report.mean:.2f} times the error of the mean of all; variance over stimuli "
        f"{report.spread:.2f} for a sample, {report.true:.2f} for x_0; the energy score of the samples, "
        f"{report.energy:.1f}, is {better} than their mean's, {report.energy_of_mean:.1f}."
    )
