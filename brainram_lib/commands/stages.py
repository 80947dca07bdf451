"""The commands of the stages, of scores and audits: each calls one method of the `Workbench`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from brainram_lib.commands.options import Arguments, modality_option, stage, workbench_of


def prepare(chosen: Arguments) -> None:
    """Prepare the subject's betas: z-score, split, mean over repetitions. Says how many of them the profile uses."""
    betas = workbench_of(chosen).betas()
    print(f"(n_train, n_voxels) = {betas['train'].shape}, (n_test, n_voxels) = {betas['test'].shape}")


def prior(chosen: Arguments) -> None:
    """Stage I: train the projector and the diffusion prior, estimate the test images' tokens, say what was learned."""
    from brainram_lib.view.curves import found_said

    workbench = workbench_of(chosen)
    for modality in chosen.modality:
        print(f"{modality} estimates (n, samples, tokens, width) = {workbench.estimates(modality, 'test').shape}")
        history = {f"{modality} prior": workbench.prior_history(modality)}
        print(found_said(history, workbench.profile.split.validation))


def ram(chosen: Arguments) -> None:
    """Stage II: retrieve neighbours, train the RAM, and refine the test images' estimates."""
    workbench = workbench_of(chosen)
    for modality in chosen.modality:
        print(f"{modality} refined (n, samples, tokens, width) = {workbench.refined(modality).shape}")


def reconstruct(chosen: Arguments) -> None:
    """Generate the test images of one system."""
    workbench = workbench_of(chosen)
    system = chosen.system or workbench.profile.method
    print(f"{system} (n, height, width, 3) = {workbench.reconstructions(system).shape}")


def scores(chosen: Arguments) -> None:
    """Score every system; print the tables, as text or markdown, or the records as JSON."""
    workbench = workbench_of(chosen)
    if chosen.json:
        print(json.dumps([asdict(record) for record in workbench.records()], indent=1))
    else:
        tables = workbench.score_tables()
        print("\n".join(table.markdown() if chosen.markdown else table.text() for table in tables), end="")


def score(chosen: Arguments) -> None:
    """Score a folder of reconstructions that others made, named by nsdId, with the same metrics and intervals."""
    table = workbench_of(chosen).submitted(chosen.folder, chosen.preset, chosen.blurry)
    print(table.markdown() if chosen.markdown else table.text(), end="")


def audit(chosen: Arguments) -> None:
    """Print what a reviewer asks: near-duplicates, retrieval, the split, ceilings, brain agreement, new stimuli."""
    how = {"images": not chosen.tokens, "folds": chosen.folds, "held_out": chosen.held_out}
    found = workbench_of(chosen).audits(chosen.audits or None, **how)
    if chosen.json:
        said = {one.name: [asdict(record) for record in one.records] for one in found}
        print(json.dumps(said, indent=1))
    else:
        tables = [table for one in found for table in one.tables]
        print("\n".join(table.markdown() if chosen.markdown else table.text() for table in tables), end="")
    for sentence in (said for one in found for said in one.skipped):
        print(f"Not audited. {sentence}", file=sys.stderr)


def figures(chosen: Arguments) -> None:
    """Draw the committed figures from saved results, making what is missing."""
    from brainram_lib.figures import FOLDER, draw_all

    for path in draw_all(workbench_of(chosen), chosen.out or FOLDER):
        print(path)


class SystemNames:
    """The registered systems, looked up only when help is printed: they load slowly.

    Any name passes the parser, because a profile's file may add systems; the registry refuses unknown ones.
    """

    def __iter__(self) -> Iterator[str]:
        from brainram_lib.systems import systems

        return (system.name for system in systems())

    def __contains__(self, name: object) -> bool:
        return True


def add_to(commands: Any) -> None:
    """Add the commands to the parser."""
    stage(commands, "prepare", prepare)
    modality_option(stage(commands, "prior", prior))
    modality_option(stage(commands, "ram", ram))
    stage(commands, "reconstruct", reconstruct).add_argument(
        "--system", choices=SystemNames(), metavar="SYSTEM", help="%(choices)s; default: the profile's method"
    )
    printed = stage(commands, "scores", scores).add_mutually_exclusive_group()
    printed.add_argument("--json", action="store_true", help="print the records as JSON")
    printed.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    scored = stage(commands, "score", score)
    scored.add_argument("folder", type=Path, help="images called by their nsdId, or images.npy and nsd_ids.npy")
    scored.add_argument("--preset", default="brainram", help="brainram, mindeye, mindeye2, brain-diffuser or takagi")
    scored.add_argument("--blurry", type=Path, metavar="FOLDER", help="blurry images that 'mindeye2' blends in")
    scored.add_argument("--markdown", action="store_true", help="print the table as markdown")
    audited = stage(commands, "audit", audit)
    audited.add_argument(
        "audits", nargs="*", metavar="AUDIT", help="duplicates, retrieval, split, ceiling, brain, stimuli; default: all"
    )
    audited.add_argument("--tokens", action="store_true", help="generate nothing: tokens and images that exist alone")
    audited.add_argument("--folds", type=int, default=1, choices=range(1, 6), help="held-out parts; default: 1")
    audited.add_argument(
        "--held-out", nargs="+", default=["ridge"], choices=SystemNames(), metavar="SYSTEM",
        help="systems that are trained again without clusters of stimuli; default: ridge",
    )  # fmt: skip
    shown = audited.add_mutually_exclusive_group()
    shown.add_argument("--json", action="store_true", help="print the records as JSON")
    shown.add_argument("--markdown", action="store_true", help="print the tables as markdown")
    drawn = stage(commands, "figures", figures)
    drawn.add_argument("--out", type=Path, metavar="FOLDER", help="default: figures/")
