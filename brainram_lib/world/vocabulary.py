"""What the embedded world contains: object categories, places, light, colours, and the words for them.

Category names are COCO's. Eleven of COCO's 80 categories have no emoji and are left out (fire hydrant, parking
meter, bench, baseball glove, dining table, remote, microwave, oven, toaster, refrigerator, hair drier). The corpus
knows more categories and places than the stimuli, as a web corpus does.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool


@dataclass(frozen=True)
class Category:
    """One kind of object: its COCO name, its emoji, the words for it, and the kinds of place it is found in."""

    name: str
    emoji: str
    words: tuple[str, ...]
    found: str
    tint: bool = False
    scale: float = 1.0


def _c(name: str, emoji: str, words: str, found: str, tint: bool = False, scale: float = 1.0) -> Category:
    return Category(name, emoji, tuple(words.split("|")), found, tint, scale)


# found: o = open land, s = street, w = water, n = snow, h = house (kitchen, room, ...)
COCO_CATEGORIES: tuple[Category, ...] = (
    _c("person", "🧍🚶🏃💃🕺", "person|man|walker|someone", "oswnh", scale=1.2),
    _c("bicycle", "🚲", "bicycle|bike", "os", True),
    _c("car", "🚗🚙🚕", "car|automobile|vehicle", "s", True),
    _c("motorcycle", "🏍🛵", "motorcycle|motorbike", "s", True),
    _c("airplane", "🛩🛫🛬", "airplane|plane|jet", "ow"),
    _c("bus", "🚌🚍", "bus|coach", "s", True, 1.1),
    _c("train", "🚆🚂🚅", "train|locomotive", "so", False, 1.1),
    _c("truck", "🚚🚛", "truck|lorry", "s", True, 1.1),
    _c("boat", "⛵🚤⛴", "boat|ship", "w"),
    _c("traffic light", "🚦🚥", "traffic light|signal light", "s"),
    _c("stop sign", "🛑", "stop sign|road sign", "s"),
    _c("bird", "🐦🦅🦆🦜", "bird|small bird", "ow"),
    _c("cat", "🐈🐱", "cat|kitty", "hs"),
    _c("dog", "🐕🐩🐶", "dog|puppy", "oshn"),
    _c("horse", "🐎🐴", "horse|pony", "o"),
    _c("sheep", "🐑🐏", "sheep|lamb", "o"),
    _c("cow", "🐄🐂", "cow|cattle", "o"),
    _c("elephant", "🐘", "elephant|big elephant", "o", False, 1.2),
    _c("bear", "🐻", "bear|brown bear", "on", False, 1.1),
    _c("zebra", "🦓", "zebra|striped zebra", "o"),
    _c("giraffe", "🦒", "giraffe|tall giraffe", "o", False, 1.2),
    _c("backpack", "🎒", "backpack|rucksack", "osh", True),
    _c("umbrella", "☔⛱", "umbrella|parasol", "ws", True),
    _c("handbag", "👜", "handbag|purse", "sh", True),
    _c("tie", "👔", "tie|necktie", "h", True),
    _c("suitcase", "🧳", "suitcase|luggage", "sh", True),
    _c("frisbee", "🥏", "frisbee|flying disc", "ow", True),
    _c("skis", "🎿", "skis|pair of skis", "n"),
    _c("snowboard", "🏂", "snowboard|snowboarder", "n"),
    _c("sports ball", "⚽🏀🏐", "ball|sports ball", "o"),
    _c("kite", "🪁", "kite|flying kite", "ow"),
    _c("baseball bat", "🏏", "bat|baseball bat", "o"),
    _c("skateboard", "🛹", "skateboard|skate board", "s", True),
    _c("surfboard", "🏄", "surfboard|surfer", "w"),
    _c("tennis racket", "🏸", "tennis racket|racket", "o"),
    _c("bottle", "🍾🍼", "bottle|glass bottle", "h"),
    _c("wine glass", "🍷", "wine glass|glass of wine", "h"),
    _c("cup", "☕🍵🥤", "cup|mug", "h", True),
    _c("fork", "🍴", "fork|silver fork", "h"),
    _c("knife", "🔪", "knife|sharp knife", "h"),
    _c("spoon", "🥄", "spoon|metal spoon", "h"),
    _c("bowl", "🥣", "bowl|dish", "h", True),
    _c("banana", "🍌", "banana|ripe banana", "h"),
    _c("apple", "🍎🍏", "apple|fresh apple", "h"),
    _c("sandwich", "🥪", "sandwich|toasted sandwich", "h"),
    _c("orange", "🍊", "orange|orange fruit", "h"),
    _c("broccoli", "🥦", "broccoli|green broccoli", "h"),
    _c("carrot", "🥕", "carrot|fresh carrot", "h"),
    _c("hot dog", "🌭", "hot dog|sausage in a bun", "h"),
    _c("pizza", "🍕", "pizza|slice of pizza", "h"),
    _c("donut", "🍩", "donut|sweet donut", "h"),
    _c("cake", "🎂🍰", "cake|birthday cake", "h"),
    _c("chair", "🪑", "chair|wooden chair", "h", True),
    _c("couch", "🛋", "couch|sofa", "h", True, 1.2),
    _c("potted plant", "🪴", "potted plant|house plant", "h"),
    _c("bed", "🛏", "bed|single bed", "h", True, 1.2),
    _c("toilet", "🚽", "toilet|white toilet", "h"),
    _c("tv", "📺", "tv|television", "h"),
    _c("laptop", "💻", "laptop|computer", "h"),
    _c("mouse", "🖱", "mouse|computer mouse", "h"),
    _c("keyboard", "⌨", "keyboard|computer keyboard", "h"),
    _c("cell phone", "📱", "cell phone|phone", "h"),
    _c("sink", "🚰", "sink|water tap", "h"),
    _c("book", "📕📖", "book|open book", "h", True),
    _c("clock", "⏰🕰", "clock|alarm clock", "h"),
    _c("vase", "🏺", "vase|clay vase", "h", True),
    _c("scissors", "✂", "scissors|pair of scissors", "h", True),
    _c("teddy bear", "🧸", "teddy bear|stuffed bear", "h"),
    _c("toothbrush", "🪥", "toothbrush|tooth brush", "h", True),
)

CORPUS_CATEGORIES: tuple[Category, ...] = (
    _c("pig", "🐖", "pig", "o"),
    _c("rabbit", "🐇", "rabbit", "on"),
    _c("turtle", "🐢", "turtle", "w"),
    _c("fish", "🐟🐠", "fish", "w"),
    _c("whale", "🐋", "whale", "w"),
    _c("butterfly", "🦋", "butterfly", "o"),
    _c("sunflower", "🌻", "sunflower", "o"),
    _c("tree", "🌳", "tree", "os"),
    _c("cactus", "🌵", "cactus", "o"),
    _c("strawberry", "🍓", "strawberry", "h"),
    _c("watermelon", "🍉", "watermelon", "h"),
    _c("guitar", "🎸", "guitar", "h", True),
    _c("balloon", "🎈", "balloon", "os", True),
    _c("helicopter", "🚁", "helicopter", "ow"),
    _c("tractor", "🚜", "tractor", "o"),
    _c("castle", "🏰", "castle", "o"),
    _c("tent", "⛺", "tent", "on", True),
    _c("hat", "🎩", "hat", "h", True),
    _c("lamp", "💡", "lamp", "h"),
    _c("camel", "🐫", "camel", "o"),
    _c("tiger", "🐅", "tiger", "o"),
    _c("monkey", "🐒", "monkey", "o"),
    _c("penguin", "🐧", "penguin", "n"),
    _c("snowman", "⛄", "snowman", "n"),
)


@dataclass(frozen=True)
class Place:
    """One kind of background. Colours are RGB in [0, 255]: `far` above the horizon, `near` below it."""

    name: str
    kind: str
    words: tuple[str, ...]
    far: tuple[tuple[int, int, int], tuple[int, int, int]]
    near: tuple[tuple[int, int, int], tuple[int, int, int]]
    decor: str = "none"
    horizon: tuple[float, float] = field(default=(0.40, 0.62))


def _p(name: str, kind: str, words: str, far: tuple, near: tuple, decor: str, horizon=(0.40, 0.62)) -> Place:
    return Place(name, kind, tuple(words.split("|")), far, near, decor, horizon)


PLACES: tuple[Place, ...] = (
    _p("meadow", "o", "in a meadow|on the grass|in a green field", ((120, 180, 240), (205, 230, 250)), ((120, 180, 70), (60, 130, 40)), "clouds"),
    _p("desert", "o", "in the desert|on dry sand|on a sandy plain", ((150, 190, 235), (240, 220, 190)), ((225, 190, 120), (190, 145, 80)), "dunes"),
    _p("forest", "o", "in the forest|among the trees|near the woods", ((150, 200, 200), (190, 220, 200)), ((90, 120, 50), (60, 80, 35)), "trees"),
    _p("mountains", "o", "near the mountains|below the hills|in the hills", ((110, 160, 220), (220, 230, 240)), ((130, 150, 90), (95, 110, 65)), "peaks"),
    _p("street", "s", "on the street|on a road|on the asphalt", ((160, 200, 235), (215, 225, 235)), ((95, 95, 100), (70, 70, 76)), "road"),
    _p("city", "s", "in the city|by tall buildings|downtown", ((170, 190, 215), (220, 215, 215)), ((130, 125, 125), (95, 92, 95)), "towers"),
    _p("beach", "w", "on the beach|at the seaside|by the ocean", ((100, 180, 240), (190, 225, 245)), ((235, 215, 160), (215, 185, 125)), "surf"),
    _p("sea", "w", "on the sea|on the water|on a lake", ((130, 190, 240), (225, 235, 240)), ((40, 120, 180), (20, 70, 130)), "waves"),
    _p("snow", "n", "in the snow|on a snowy slope|on white snow", ((150, 180, 215), (215, 225, 240)), ((245, 248, 252), (205, 215, 232)), "pines"),
    _p("kitchen", "h", "in the kitchen|on a kitchen counter|on the counter", ((235, 225, 200), (225, 210, 180)), ((150, 100, 60), (115, 75, 42)), "tiles"),
    _p("living room", "h", "in the living room|in a room|on the carpet", ((190, 165, 190), (175, 150, 178)), ((150, 60, 60), (110, 40, 45)), "window"),
    _p("bathroom", "h", "in the bathroom|on blue tiles|in a washroom", ((185, 220, 225), (165, 205, 212)), ((110, 160, 175), (80, 125, 145)), "tiles"),
    _p("office", "h", "in the office|on a desk|at work", ((205, 205, 195), (190, 190, 182)), ((200, 160, 105), (165, 125, 75)), "shelf"),
)  # fmt: skip

CORPUS_PLACES: tuple[Place, ...] = (
    _p("stage", "h", "on a stage|in a theatre", ((60, 20, 40), (110, 25, 45)), ((90, 60, 40), (60, 40, 28)), "window"),
    _p("farm", "o", "on a farm|by the barn", ((140, 190, 235), (225, 235, 220)), ((200, 180, 80), (150, 130, 50)), "shelf"),
    _p("harbour", "w", "in the harbour|at the docks", ((165, 180, 200), (210, 215, 220)), ((70, 100, 120), (45, 70, 90)), "towers"),
)  # fmt: skip

# name -> (words, multiplicative RGB gain, additive RGB offset): how the light of the day colours a scene
LIGHTS: dict[str, tuple[tuple[str, ...], tuple[float, float, float], tuple[float, float, float]]] = {
    "day": (("in daylight", "in bright light", "during the day"), (1.0, 1.0, 1.0), (0, 0, 0)),
    "sunset": (("at sunset", "in the evening", "in warm light"), (0.98, 0.74, 0.55), (26, 6, 0)),
    "overcast": (("on a grey day", "in dull light", "on a cloudy day"), (0.72, 0.74, 0.77), (18, 18, 20)),
    "night": (("at night", "in the dark", "after dark"), (0.46, 0.50, 0.70), (0, 2, 14)),
}

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (215, 45, 40),
    "blue": (45, 95, 210),
    "green": (50, 155, 70),
    "yellow": (240, 205, 50),
    "purple": (140, 70, 170),
    "orange": (240, 135, 35),
    "white": (240, 240, 240),
    "black": (45, 45, 50),
}


def category_names() -> tuple[str, ...]:
    """The stimuli's categories in their fixed order, the label order of the probe and of `Scene.labels`."""
    return tuple(category.name for category in COCO_CATEGORIES)


def category_matrix(shown: Iterable[Iterable[str]]) -> Bool[np.ndarray, "n categories"]:
    """Which categories (in the order of `category_names`) each picture shows, from the names of those it shows."""
    names = category_names()
    present = [set(categories) for categories in shown]
    return np.array([[name in one for name in names] for one in present], bool).reshape(-1, len(names))
