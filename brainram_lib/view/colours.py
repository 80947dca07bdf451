"""What colours mean in figures, one meaning per page: a region, a modality or a system. Curves are black and grey.

Hues of regions follow the visual hierarchy: early areas blue, middle ones orange, high ones green; patches that
localisers find within the high areas have hues of their own. All are distinguishable with every kind of colour vision
(after Okabe and Ito, and Tol), or differ in lightness.
"""

from __future__ import annotations

MODALITY = {"image": "#332288", "text": "#CC79A7"}
DECODER, BOUND = "#0072B2", "#777777"
# Lines of one panel in order: colour and style, so that they also differ in print.
LINES = (("#000000", "-"), ("#7A7A7A", "--"), ("#000000", ":"), ("#7A7A7A", "-."))
# Areas of the cortex, from the eye inwards.
AREAS = {"early": "#0072B2", "middle": "#E69F00", "high": "#009E73"}
REGIONS = {
    "nsdgeneral": "#000000",
    "V1": "#0B3C6F",
    "V2": "#0072B2",
    "V3": "#7FBCE6",
    "hV4": "#E69F00",
    "OFA": "#F2A7D0",
    "FFA": "#AA4499",
    "EBA": "#661100",
    "OPA": "#DDCC77",
    "PPA": "#999933",
    "RSC": "#6B6B1F",
    "early": "#0072B2",
    "midventral": "#E69F00",
    "midlateral": "#FFCF70",
    "midparietal": "#A36A00",
    "ventral": "#009E73",
    "lateral": "#8AD9BF",
    "parietal": "#00533C",
}
# For names that have no colour of their own, in order.
OTHERS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#332288", "#882255", "#999933")


def region_colour(name: str, position: int) -> str:
    """The colour of a region, or of the `position`-th of some that have none of their own."""
    return REGIONS.get(name, OTHERS[position % len(OTHERS)])


def line(position: int) -> tuple[str, str]:
    """Colour and style of the `position`-th line of a panel."""
    return LINES[position % len(LINES)]


def modality_colour(name: str, position: int) -> str:
    """The colour for a name 'image ...' or 'text ...'; other names get colours in turn."""
    return MODALITY.get(name.split(" ")[0], tuple(MODALITY.values())[position % len(MODALITY)])
