"""The networks that the embedded world's priors begin with: trained on corpus items with simulated conditions.

    python -m brainram_lib world train-prior --modality image --minutes 45
    python -m brainram_lib world train-prior --modality text --minutes 25

Items of the corpus need no betas. Their conditions are simulated with the errors of subject 1's cross-fitted ridge
estimates of training images (`stage1.free`); a quarter of each batch are those training images themselves. No test
image of any subject enters. `stage1.start` names the folder, and each subject's own training goes on from there,
unless its split holds out images that were trained on here (`Run.start_has_seen`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import save_file
from torch import Tensor, nn

from brainram_lib.core.devices import accelerator, in_bfloat16
from brainram_lib.core.rows import Rows
from brainram_lib.core.whitening import whitened_by
from brainram_lib.pipeline.corpus import corpus_tokens
from brainram_lib.pipeline.data import validation_rows
from brainram_lib.pipeline.free import free_tokens
from brainram_lib.recipes.training import Budget, run
from brainram_lib.stage1.free import FreeRows
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples, begin_with, prepare
from brainram_lib.workbench import Workbench

FOLDER = Path(__file__).resolve().parents[1] / "world/assets/mini_prior"
BATCH, REAL = 64, 16
SAID_EVERY = 500
SHIPPED = ("network.", "whitening.")


@dataclass(frozen=True)
class Material:
    """Fitting and validation images of subject 1, and the whole corpus."""

    fit: Examples
    held: Examples
    items: Tensor


def train(modality: str, workbench: Workbench, work: Path, budget: Budget, seed: int, folder: Path = FOLDER) -> Path:
    """Train the network of one modality and write it, in half precision, where the package ships it or to `folder`.

    On a GPU where there is one.

    Raises:
        Paused: `budget.until` has come; the same call goes on.
    """
    material = material_of(workbench, modality)
    torch.manual_seed(seed)
    prior = Prior(workbench.profile.stage1, material.fit.betas.shape[1], *material.fit.targets.shape[1:])
    prior.to(accelerator())
    prepare(prior, material.fit, None)
    free = FreeRows(material.items, material.fit.linear, material.fit.targets, whitened_by(prior.whitening))
    network, random = prior.network, torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), lr=budget.peak_rate, weight_decay=0.01, betas=(0.9, 0.99))
    checkpoint = work / f"prior-{modality}.safetensors"
    for step, bar in run(budget, network, optimizer, checkpoint, f"prior's network, {modality}"):
        loss = _loss(prior, material.fit, free, random)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % SAID_EVERY == 0:
            bar.set_postfix_str(f"validation error of the mean {held_out_error(prior, material.held):.4f}")
    path = folder / f"{modality}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {name: weight.half() if name.startswith("network.") else weight for name, weight in _shipped(prior)}
    save_file({name: weight.cpu().contiguous() for name, weight in weights.items()}, path)
    print(f"{path}: validation error of the mean {held_out_error(prior, material.held):.4f}")
    return path


def _shipped(prior: Prior) -> list[tuple[str, Tensor]]:
    return [(name, weight) for name, weight in prior.state_dict().items() if name.startswith(SHIPPED)]


def material_of(workbench: Workbench, modality: str) -> Material:
    """Betas, cross-fitted estimates and targets of subject 1's training images, and all corpus items' tokens."""
    run_, store = workbench.run, workbench.store
    stage = run_.prior(modality)
    targets, linear = (store.result(one).array("train") for one in (stage.targets, stage.linear))
    betas = stage.targets.images.betas(store)["train"]
    parts = validation_rows(len(targets), stage.validation)
    fit, held = (Examples(*(Rows(one, rows) for one in (betas, linear, targets))) for rows in parts)
    cache = corpus_tokens(run_.corpus, run_.encoder, store)
    captions = workbench.profile.stage1.free_captions
    return Material(fit, held, free_tokens(cache, len(cache.corpus), modality, captions))


def _loss(prior: Prior, fit: Examples, free: FreeRows, random: torch.Generator) -> Float[Tensor, ""]:
    rows = torch.randint(len(fit), (REAL,), generator=random)
    x0, condition = map(whitened_by(prior.whitening), (fit.targets[rows], fit.linear[rows]))
    more = free.draw(BATCH - REAL, random)
    x0, condition = torch.cat([x0, more[0]]), torch.cat([condition, more[1]])
    level = prior.process.levels(len(x0), random).to(x0.device)
    x = prior.process.noised(x0, level, torch.randn(x0.shape, generator=random).to(x0.device), condition)
    # half the time on CPUs that multiply in bfloat16; the rate falls to zero, so its rounding averages out
    with in_bfloat16(prior.device):
        estimate = prior.denoised(x, level, condition)
    return prior.process.errors(estimate.float(), x0, level).mean()


@torch.no_grad()
def held_out_error(prior: Prior, held: Examples) -> float:
    """Mean squared error, whitened, of the mean of all samples given the linear estimate alone."""
    linear, targets = map(whitened_by(prior.whitening), (held.linear[:], held.targets[:]))
    means = torch.cat([prior.mean(part) for part in linear.split(64)])
    return float((means - targets).square().mean())


def errors_of_starts(modality: str, workbench: Workbench, folders: Sequence[Path]) -> list[float]:
    """What networks of several folders reach on subject 1's validation images: `held_out_error` of each."""
    material = material_of(workbench, modality)
    prior = Prior(workbench.profile.stage1, material.fit.betas.shape[1], *material.fit.targets.shape[1:])
    prior.to(accelerator())
    prepare(prior, material.fit, None)
    errors = []
    for folder in folders:
        begin_with(prior, folder / f"{modality}.safetensors")
        errors.append(held_out_error(prior, material.held))
    return errors
