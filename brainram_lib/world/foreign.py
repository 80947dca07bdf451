"""Captions in another language: German, word by word, for the second corpus of Table 3.

The lexicon was written by hand and holds every word that `captions.web_caption` can say. A word has one translation in
every context, and word order and endings stay as in English, so the result is not correct German. It has what the
corpus needs: words that an encoder of English captions was not trained on; words that both languages spell alike (in,
Ball, Pizza) stay readable for it.
"""

from __future__ import annotations

import re

WORD = re.compile(r"[A-Za-z]+")

_CONNECTING = """
a ein, after nach, among zwischen, an ein, and und, at an, below unter, by bei, during während, for zum, in in,
is ist, near nahe, of von, on auf, see sehen, someone jemand, the der, there da, this dies, we wir
"""

_SIDES_SIZES_COLOURS = """
big großer, black schwarzer, blue blauer, brown brauner, center Zentrum, green grüner, grey grauer, large riesiger,
left links, little kleiner, middle Mitte, orange oranger, purple lila, red roter, right rechts, small winziger,
white weißer, yellow gelber
"""

_CATEGORIES = """
airplane Flugzeug, alarm Wecker, apple Apfel, automobile Automobil, backpack Rucksack, ball Ball, balloon Luftballon,
banana Banane, baseball Baseball, bat Schläger, bear Bär, bed Bett, bicycle Fahrrad, bike Rad, bird Vogel,
birthday Geburtstag, board Brett, boat Boot, book Buch, bottle Flasche, bowl Schüssel, broccoli Brokkoli,
brush Bürste, bun Brötchen, bus Bus, butterfly Schmetterling, cactus Kaktus, cake Kuchen, camel Kamel, car Wagen,
carrot Karotte, castle Burg, cat Katze, cattle Rinder, cell Mobil, chair Stuhl, clay Ton, clock Uhr, coach Reisebus,
computer Rechner, couch Liege, cow Kuh, cup Tasse, disc Scheibe, dish Schale, dog Hund, donut Krapfen,
elephant Elefant, fish Fisch, flying fliegender, fork Gabel, fresh frischer, frisbee Wurfscheibe, fruit Frucht,
giraffe Giraffe, glass Glas, guitar Gitarre, handbag Handtasche, hat Hut, helicopter Hubschrauber, horse Pferd,
hot heißer, house Haus, jet Düsenflieger, keyboard Tastatur, kite Drachen, kitty Kätzchen, knife Messer, lamb Lamm,
lamp Lampe, laptop Klapprechner, locomotive Lokomotive, lorry Laster, luggage Gepäck, man Mann, metal Metall,
monkey Affe, motorbike Kraftrad, motorcycle Motorrad, mouse Maus, mug Becher, necktie Schlips, open offener,
pair Paar, parasol Sonnenschirm, penguin Pinguin, person Person, phone Telefon, pig Schwein, pizza Pizza,
plane Flieger, plant Pflanze, pony Pony, potted getopfter, puppy Welpe, purse Geldbeutel, rabbit Kaninchen,
racket Schlagholz, ripe reifer, rucksack Ranzen, sandwich Klappstulle, sausage Wurst, scissors Schere, sharp scharfer,
sheep Schaf, ship Schiff, sign Schild, signal Signal, silver silberner, single einzelner, sink Spüle, skate Roll,
skateboard Rollbrett, skis Skier, slice Scheibe, snowboard Schneebrett, snowboarder Schneebrettfahrer,
snowman Schneemann, sofa Sofa, spoon Löffel, sports Sport, stop Halt, strawberry Erdbeere, striped gestreifter,
stuffed ausgestopfter, suitcase Koffer, sunflower Sonnenblume, surfboard Wellenbrett, surfer Wellenreiter,
sweet süßer, tap Hahn, teddy Teddy, television Fernsehen, tennis Tennis, tent Zelt, tie Krawatte, tiger Tiger,
toasted gerösteter, toilet Toilette, tooth Zahn, toothbrush Zahnbürste, tractor Traktor, traffic Verkehr, train Zug,
tree Baum, truck Lastwagen, turtle Schildkröte, tv Fernseher, umbrella Schirm, vase Vase, vehicle Fahrzeug,
walker Spaziergänger, water Wasser, watermelon Wassermelone, whale Wal, wine Wein, wooden hölzerner, zebra Zebra
"""

_PLACES_AND_LIGHT = """
asphalt Asphalt, barn Scheune, bathroom Badezimmer, beach Strand, bright heller, buildings Gebäude, carpet Teppich,
city Stadt, cloudy bewölkter, counter Theke, dark Dunkel, day Tag, daylight Tageslicht, desert Wüste,
desk Schreibtisch, docks Hafenbecken, downtown Innenstadt, dry trockener, dull trüber, evening Abend, farm Bauernhof,
field Feld, forest Wald, grass Gras, harbour Hafen, hills Hügel, kitchen Küche, lake See, light Licht, living Wohn,
meadow Wiese, mountains Berge, night Nacht, ocean Ozean, office Büro, plain Ebene, road Weg, room Zimmer, sand Sand,
sandy sandiger, sea Meer, seaside Küste, slope Hang, snow Schnee, snowy verschneiter, stage Bühne, street Straße,
sunset Sonnenuntergang, tall hoher, theatre Theater, tiles Fliesen, trees Bäume, warm warmer, washroom Waschraum,
woods Gehölz, work Arbeit
"""

_WEB = "art Kunst, free gratis, photo Foto, picture Bild, sale Verkauf, stock Archiv, wall Wand"


def _entries(*lists: str) -> dict[str, str]:
    """'english German, ...' -> {english: German}."""
    return dict(entry.split() for words in lists for entry in words.split(","))


GERMAN = _entries(_CONNECTING, _SIDES_SIZES_COLOURS, _CATEGORIES, _PLACES_AND_LIGHT, _WEB)


def german(caption: str) -> str:
    """The caption with every word replaced by its entry, word by word; a word without an entry stays as it is."""
    return WORD.sub(lambda word: GERMAN.get(word[0], word[0]), caption)
