"""Maps on the cortex: inflated surfaces, flat maps, outlines of regions; static (matplotlib) and interactive.

All maps are pairs (left, right) of 10,242 values on fsaverage5, NaN where there is nothing to show, as
`nsd.surfaces.to_fsaverage5` returns them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, ListedColormap, Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke
from matplotlib.tri import Triangulation
from mpl_toolkits.mplot3d.art3d import Line3DCollection
from nilearn import datasets, plotting, surface
from nilearn.plotting.surface.html_surface import SurfaceView

from brainram_lib.nsd.errors import NsdError
from brainram_lib.nsd.layout import NsdLayout
from brainram_lib.nsd.prepared import PreparedSubject
from brainram_lib.nsd.surfaces import FSAVERAGE5_VERTICES, voxels_to_fsaverage5
from brainram_lib.view.colours import region_colour

Pair = tuple[Shaped[np.ndarray, " vertices"], Shaped[np.ndarray, " vertices"]]
SIDES = ("left", "right")
# The four panels of each hemisphere: (view name, elevation, azimuth of the left hemisphere in degrees).
VIEWS: dict[str, tuple[float, float]] = {
    "lateral": (2, 190),
    "medial": (0, 350),
    "posterior": (2, 300),
    "ventral": (-82, 180),
}
# Zero is yellow in the second map: white would look like a hole in the grey cortex.
SEQUENTIAL, DIVERGING = "inferno", "RdYlBu_r"
# In inches: a figure at a notebook's width, the widest column of one view, and the space for the colour bar.
WIDTH, COLUMN, BAR = 10.0, 3.0, 0.95
# Width and height in pixels; below this height the view's own menu is cut off.
_INTERACTIVE = 800, 600
# A brain seen from behind is narrower than one seen from the side.
WIDTHS = {"posterior": 0.72}


@cache
def _mesh(kind: str, side: str) -> tuple[Float[np.ndarray, "vertices 3"], Int[np.ndarray, "faces 3"]]:
    mesh = surface.load_surf_mesh(datasets.fetch_surf_fsaverage("fsaverage5")[f"{kind}_{side}"])
    return np.asarray(mesh.coordinates, np.float64), np.asarray(mesh.faces)


@cache
def _folding(side: str) -> Float[np.ndarray, " vertices"]:
    """Sulcal depth squeezed to two soft tones: 0.15 a gyrus, 0.42 a sulcus, in shares of black."""
    depth = surface.load_surf_data(datasets.fetch_surf_fsaverage("fsaverage5")[f"sulc_{side}"])
    return 0.15 + 0.27 / (1 + np.exp(-depth / 2))


def on_cortex(
    layout: NsdLayout, data: PreparedSubject, values: Shaped[np.ndarray, " voxels"], method: str = "linear"
) -> Pair:
    """One value per voxel of a prepared subject, mapped to fsaverage5 with the subject's own transform files.

    `method` is 'linear' for data and 'nearest' for labels. Betas on fsaverage need no transform.

    Raises:
        NsdError: a transform file is missing or damaged, or no voxel has a finite value.
    """
    if not np.isfinite(values).any():
        raise NsdError(_why_nothing(data, len(values)))
    shape = data.volume_shape
    if len(shape) == 3:
        return voxels_to_fsaverage5(layout, data.record["subject"], values, data.voxel_index, shape, method)
    whole = np.full(shape[0], np.nan)
    whole[data.voxel_index] = values
    left, right = np.split(whole, 2)
    return left[:FSAVERAGE5_VERTICES], right[:FSAVERAGE5_VERTICES]


def _why_nothing(data: PreparedSubject, voxels: int) -> str:
    nothing = f"a map needs at least one finite value; none of the {voxels} voxels has one."
    if data.record.get("ncsnr") == "absent":
        subject = data.record["subject"]
        return (
            f"{nothing} Subject {subject} was prepared without NSD's ncsnr, so ncsnr and noise ceilings are unknown: "
            "`nsd check` names its file; fetch it and prepare the subject again."
        )
    return f"{nothing} Check what was handed in."


def regions_on_cortex(layout: NsdLayout, data: PreparedSubject, names: Sequence[str]) -> dict[str, Pair]:
    """Masks on fsaverage5 of a prepared subject's regions, for outlines and `region_map`; absent ones are left out.

    Raises:
        NsdError: as `on_cortex`.
    """
    known = [name for name in names if name in data.roi_names and data.roi(name).any()]
    masks = {name: on_cortex(layout, data, data.roi(name).astype(np.float64), "nearest") for name in known}
    return {name: (left > 0, right > 0) for name, (left, right) in masks.items()}


def value_range(values: Pair, symmetric: bool = False) -> tuple[float, float]:
    """The 1st and 99th percentile of both hemispheres, or a range that is symmetric about zero.

    Raises:
        ValueError: there is no finite value.
    """
    finite = np.concatenate([side[np.isfinite(side)] for side in values])
    if not len(finite):
        raise ValueError("a map needs at least one finite value on fsaverage5. Check the mask and the transforms.")
    if symmetric:
        most = float(np.percentile(np.abs(finite), 99))
        return -most, most
    low, high = np.percentile(finite, [1, 99])
    return float(low), float(high)


def inflated_map(
    values: Pair,
    title: str,
    unit: str,
    cmap: str | Colormap = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    outlines: Mapping[str, Pair] | None = None,
    views: Sequence[str] = tuple(VIEWS),
) -> Figure:
    """A map on both inflated hemispheres, one panel per view, with a colour bar that names the unit.

    Args:
        values: the left and the right hemisphere's values; NaN shows the grey cortex.
        limits: ends of the colour bar; the 1st and 99th percentile if not given.
        outlines: {name: masks} drawn as thin lines, named in a legend.

    Raises:
        ValueError: the map has no finite value or the wrong number of vertices, or a view is not known.
    """
    figure = _canvas(title, views)
    draw_inflated(figure, values, unit, cmap, limits, outlines, views)
    return figure


def draw_inflated(
    figure: FigureBase,
    values: Pair,
    unit: str,
    cmap: str | Colormap = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    outlines: Mapping[str, Pair] | None = None,
    views: Sequence[str] = tuple(VIEWS),
) -> None:
    """`inflated_map` drawn into an existing figure or part of one.

    Raises:
        ValueError: as `inflated_map`.
    """
    _check(values, views)
    low, high = limits or value_range(values)
    norm, colours = Normalize(low, high), colormaps[cmap] if isinstance(cmap, str) else cmap
    for axes, side, view in _panels(figure, views):
        _paint(axes, side, view, values[SIDES.index(side)], colours, norm)
        _trace(axes, side, view, outlines or {})
    _colour_bar(figure, norm, colours, unit)
    _legend(figure, list(outlines or {}), filled=False)


def region_map(regions: Mapping[str, Pair], title: str, views: Sequence[str] = tuple(VIEWS)) -> Figure:
    """Regions as coloured patches with outlines on both inflated hemispheres, named in a legend.

    Args:
        regions: {name: masks}; where two overlap, the later one is on top.

    Raises:
        ValueError: as `inflated_map`.
    """
    labels = _labels(regions)
    _check(labels, views)
    colours = ListedColormap([*_colours(regions), "white", "white"][: max(len(regions), 2)])
    figure = _canvas(title, views)
    for axes, side, view in _panels(figure, views):
        _paint(axes, side, view, labels[SIDES.index(side)], colours, Normalize(0, max(len(regions), 2) - 1), "median")
        _trace(axes, side, view, regions, colour="white")
    _legend(figure, list(regions), filled=True)
    return figure


def flat_map(
    values: Pair,
    title: str,
    unit: str,
    cmap: str | Colormap = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    outlines: Mapping[str, Pair] | None = None,
    whole: bool = False,
) -> Figure:
    """A map on the flattened cortex: the occipital poles meet in the middle; `whole` shows the frontal half too.

    Arguments and errors are those of `inflated_map`; each outline carries its name.
    """
    _check(values, ())
    norm, colours = Normalize(*(limits or value_range(values))), colormaps[cmap] if isinstance(cmap, str) else cmap
    figure = Figure(figsize=(13.5 if whole else WIDTH, 6.4), facecolor="white")
    figure.suptitle(title, fontsize=14, y=0.97)
    for k, side in enumerate(SIDES):
        axes = figure.add_axes((0.01 + 0.455 * k, 0.02, 0.45, 0.87))
        _flat_panel(axes, side, values[k], colours, norm, whole)
        for name, masks in (outlines or {}).items():
            _flat_outline(axes, side, name, masks[k])
    bar = figure.add_axes((0.915, 0.25, 0.014, 0.4))
    figure.colorbar(ScalarMappable(norm, colours), cax=bar, label=unit, extend="both")
    return figure


def interactive_map(
    values: Pair,
    title: str,
    cmap: str | Colormap = SEQUENTIAL,
    limits: tuple[float, float] | None = None,
    side: str = "left",
) -> SurfaceView:
    """One inflated hemisphere to rotate with the mouse (nilearn and plotly; nothing is fetched from the network)."""
    _check(values, ())
    low, high = limits or value_range(values)
    meshes = datasets.fetch_surf_fsaverage("fsaverage5")
    view = plotting.view_surf(
        meshes[f"infl_{side}"],
        np.clip(values[SIDES.index(side)], low, high),
        bg_map=meshes[f"sulc_{side}"],
        cmap=cmap,
        vmin=low,
        vmax=high,
        symmetric_cmap=False,
        title=title,
        title_fontsize=16,
        colorbar_fontsize=14,
    )
    view.resize(*_INTERACTIVE)
    return view


def boundary(
    faces: Int[np.ndarray, "faces 3"], mask: Bool[np.ndarray, " vertices"]
) -> tuple[Int[np.ndarray, " crossed"], Int[np.ndarray, "crossed 2 2"]]:
    """Where a region's rim crosses the triangles of a mesh.

    Returns:
        the crossed triangles, and for each the two edges (pairs of vertices) whose midpoints the rim joins.
    """
    inside = np.asarray(mask, bool)[faces]
    crossed = np.flatnonzero(inside.any(1) & ~inside.all(1))
    # The odd one out of the three corners: the rim cuts the two edges that meet there.
    single = inside[crossed].sum(1) == 1
    odd = np.where(inside[crossed] == single[:, None], 1, 0).argmax(1)
    corners = faces[crossed]
    rows = np.arange(len(crossed))
    apex, left, right = corners[rows, odd], corners[rows, (odd + 1) % 3], corners[rows, (odd + 2) % 3]
    return crossed, np.stack([np.stack([apex, left], 1), np.stack([apex, right], 1)], 1)


def _check(values: Pair, views: Sequence[str]) -> None:
    shapes = [np.shape(side) for side in values]
    wanted = [_mesh("infl", side)[0].shape[:1] for side in SIDES]
    if shapes != wanted:
        raise ValueError(f"a map must have {wanted} values on fsaverage5's hemispheres. {shapes} were provided.")
    unknown = [view for view in views if view not in VIEWS]
    if unknown:
        raise ValueError(f"view must be one of {list(VIEWS)}. {unknown[0]!r} was provided.")


def _labels(regions: Mapping[str, Pair]) -> Pair:
    """The position of the last region that contains each vertex, NaN where none does."""
    sides = []
    for k, side in enumerate(SIDES):
        labels = np.full(len(_mesh("infl", side)[0]), np.nan)
        for position, masks in enumerate(regions.values()):
            labels[np.asarray(masks[k], bool)] = position
        sides.append(labels)
    return sides[0], sides[1]


def _colours(names: Iterable[str]) -> list[str]:
    return [region_colour(name, position) for position, name in enumerate(names)]


def _canvas(title: str, views: Sequence[str]) -> Figure:
    columns = sum(_shares(views))
    width = min(WIDTH, BAR + COLUMN * columns)
    figure = Figure(figsize=(width, 0.8 + 1.7 * (width - BAR) / columns), facecolor="white")
    figure.suptitle(title, fontsize=14, y=0.985)
    return figure


def _shares(views: Sequence[str]) -> list[float]:
    return [WIDTHS.get(view, 1.0) for view in views]


def _panels(figure: FigureBase, views: Sequence[str]) -> list[tuple[Axes, str, str]]:
    """3D axes, the left hemisphere above the right one; a brain fills its square, so columns are a little wider."""
    width, height = (length / figure.dpi for length in (figure.bbox.width, figure.bbox.height))
    unit = (width - BAR) / sum(_shares(views))
    size = min(0.88 * unit, 0.48 * height)
    panels = []
    for middle, side in zip((0.715, 0.3), SIDES, strict=True):
        left = 0.0
        for share, view in zip(_shares(views), views, strict=True):
            x = (left + share / 2) * unit
            box = ((x - size / 2) / width, middle - size / height / 2, size / width, size / height)
            axes = figure.add_axes(box, projection="3d", computed_zorder=False)
            axes.patch.set_visible(False)
            axes.text2D(0.5, 0.04, f"{side} {view}", transform=axes.transAxes, ha="center", fontsize=9, color="0.35")
            panels.append((axes, side, view))
            left += share
    return panels


def _camera(side: str, view: str) -> tuple[float, float]:
    elevation, azimuth = VIEWS[view]
    return elevation, azimuth if side == "left" else 180 - azimuth


def _paint(
    axes: Axes, side: str, view: str, values: np.ndarray, cmap: Colormap, norm: Normalize, average: str = "mean"
) -> None:
    plotting.plot_surf_stat_map(
        _mesh("infl", side),
        np.asarray(values, np.float64),
        bg_map=_folding(side),
        hemi=side,
        view=_camera(side, view),
        cmap=cmap,
        vmin=norm.vmin,
        vmax=norm.vmax,
        avg_method=average,
        symmetric_cbar=False,
        colorbar=False,
        axes=axes,
        figure=axes.get_figure(),
    )
    points = _mesh("infl", side)[0]
    # nilearn leaves the limits of the three axes unequal to the mesh's; the box must have the mesh's proportions
    axes.set(xlim=_ends(points[:, 0]), ylim=_ends(points[:, 1]), zlim=_ends(points[:, 2]))
    axes.set_box_aspect(np.ptp(points, axis=0), zoom=1.22)
    for drawn in axes.collections:
        drawn.set_clip_on(False)


def _ends(values: Float[np.ndarray, " vertices"]) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def _trace(axes: Axes, side: str, view: str, outlines: Mapping[str, Pair], colour: str | None = None) -> None:
    """Draw the rims of regions on an inflated surface, where it faces the camera."""
    points, faces = _mesh("infl", side)
    corners = points[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    elevation, azimuth = np.radians(_camera(side, view))
    towards = np.array([np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)])
    for own, masks in zip(_colours(outlines), outlines.values(), strict=True):
        crossed, edges = boundary(faces, masks[SIDES.index(side)])
        seen = normals[crossed] @ towards > 0.1
        segments = points[edges[seen]].mean(2) + 0.6 * normals[crossed[seen]][:, None]
        lines = Line3DCollection(segments, colors=colour or own, linewidths=0.8 if colour else 1.4, zorder=5)
        lines.set_capstyle("round")
        axes.add_collection3d(lines, autolim=False)


def _flat_panel(axes: Axes, side: str, values: np.ndarray, cmap: Colormap, norm: Normalize, whole: bool) -> None:
    points, faces = _mesh("flat", side)
    mesh = Triangulation(points[:, 0], points[:, 1], faces)
    axes.tripcolor(mesh, _folding(side), shading="gouraud", cmap="gray_r", vmin=0, vmax=1, rasterized=True)
    mesh = Triangulation(points[:, 0], points[:, 1], faces)
    mesh.set_mask(~np.isfinite(values[faces]).all(1))
    axes.tripcolor(mesh, np.nan_to_num(values), shading="gouraud", cmap=cmap, norm=norm, rasterized=True)
    if not whole:
        axes.set_xlim(*((-25, 158) if side == "left" else (-162, 21)))
    axes.set(aspect="equal", ylim=(-145, 145))
    axes.axis("off")
    axes.set_title(f"{side} hemisphere", fontsize=10, color="0.35", y=0.97)


def _flat_outline(axes: Axes, side: str, name: str, mask: np.ndarray) -> None:
    points, faces = _mesh("flat", side)
    _, edges = boundary(faces, mask)
    if not len(edges):
        return
    axes.add_collection(LineCollection(points[edges].mean(2)[..., :2], colors="white", linewidths=1.3))
    centre = np.median(points[np.flatnonzero(mask), :2], axis=0)
    text = axes.text(*centre, name, ha="center", va="center", fontsize=8, color="white", fontweight="bold")
    text.set_path_effects([withStroke(linewidth=2, foreground="0.15")])


def _colour_bar(figure: FigureBase, norm: Normalize, cmap: Colormap, unit: str) -> None:
    bar = figure.add_axes((0.922, 0.28, 0.012, 0.44))
    figure.colorbar(ScalarMappable(norm, cmap), cax=bar, label=unit, extend="both")


def _legend(figure: FigureBase, names: Sequence[str], filled: bool) -> None:
    if not names:
        return
    handles = [
        Patch(facecolor=colour if filled else "none", edgecolor=colour, linewidth=1.6, label=name)
        for name, colour in zip(names, _colours(names), strict=True)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(names), 10), frameon=False, fontsize=10)
