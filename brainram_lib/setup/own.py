"""`python -m brainram_lib data` and `corpus`: a user's own data and corpus."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

Arguments = argparse.Namespace
FAILED = 1
AGAIN = "The same command looks again at those that cannot be read. "


def check_command(chosen: Arguments) -> int:
    """Say what a folder of your own betas, pictures and captions holds, and everything that is wrong with it."""
    from brainram_lib.nsd.normalise import DEFAULT_NORMALISATION
    from brainram_lib.profiles import profile_of
    from brainram_lib.study.check import report
    from brainram_lib.study.study import Study

    normalisation = profile_of(chosen.profile).data.normalisation if chosen.profile else DEFAULT_NORMALISATION
    bad = False
    for well, sentence in report(Study(chosen.folder), normalisation):
        print(f"{'ok ' if well else 'NOT'} {sentence}", flush=True)
        bad |= not well
    return FAILED if bad else 0


def example_command(chosen: Arguments) -> None:
    """Write a small folder of betas, pictures and captions of the embedded world, to try things on or to edit."""
    from brainram_lib.study.example import write_example

    print(f"'{write_example(chosen.folder, chosen.stimuli, chosen.voxels)}' describes what lies beside it.")


def pack_command(chosen: Arguments) -> None:
    """Make a corpus from a folder of pictures and a table of captions; rerun the same command to resume."""
    from brainram_lib.pipeline.weights import EncoderWeights
    from brainram_lib.profiles import profile_of
    from brainram_lib.retrieval.packing import pack, read_listing

    listing = read_listing(chosen.captions)
    encoder = EncoderWeights(profile_of(chosen.profile).encoder).load()
    packed = pack(chosen.folder, listing, chosen.out, encoder, encoder.image_size, chosen.shard_size)
    print(
        f"'{chosen.out}' holds {packed.pairs} pairs. Left out: {packed.refused} images that cannot be read, "
        f"{listing.without_caption} rows without a caption, {listing.repeated} rows that name an image again. "
        f"{AGAIN if packed.refused else ''}Search it with --corpus-root."
    )


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    data = commands.add_parser("data", help="data of your own: check, example").add_subparsers(
        required=True, metavar="COMMAND"
    )
    check = _command(data, "check", check_command)
    check.add_argument("folder", type=Path, help="it holds data.toml")
    check.add_argument("--profile", help="whose normalisation the betas will get; default: session-z")
    example = _command(data, "example", example_command)
    example.add_argument("folder", type=Path, help="a new one")
    example.add_argument("--stimuli", type=int, default=200, help="default: 200")
    example.add_argument("--voxels", type=int, default=400, help="default: 400")
    corpus = commands.add_parser("corpus", help="a corpus of your own: pack").add_subparsers(
        required=True, metavar="COMMAND"
    )
    pack = _command(corpus, "pack", pack_command)
    pack.add_argument("folder", type=Path, help="of the pictures")
    pack.add_argument("--captions", type=Path, required=True, metavar="TABLE", help="CSV or parquet: file, caption")
    pack.add_argument("--out", type=Path, required=True, metavar="CORPUS", help="folder of the corpus")
    pack.add_argument("--profile", default="mini", help="whose CLIP embeds it; default: mini")
    pack.add_argument("--shard-size", type=int, default=1000, metavar="N", help="pictures a shard; default: 1000")


def _command(commands: Any, name: str, handler: Any) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=handler.__doc__, description=handler.__doc__)
    parser.set_defaults(handler=handler)
    return parser
