"""What each stage computes and writes into its result's folder. `Workbench` decides when and with what.

Every function takes a folder that may hold what an interrupted run left, and returns when its files are complete.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from safetensors.torch import load_file, save_file
from torch import Tensor
from tqdm.auto import tqdm

from brainram_lib.baselines.ridge import fit_ridge
from brainram_lib.generation.selection import choose
from brainram_lib.profiles import Profile
from brainram_lib.stage1.linear import cross_fitted
from brainram_lib.stage1.prior import Prior
from brainram_lib.stage1.training import Examples, train_prior
from brainram_lib.stage2.ram import Ram
from brainram_lib.stage2.training import RamExamples, refine, train_ram
from brainram_lib.store import write_array, write_json

SPLITS = ("train", "test")
SAMPLE_CHUNK = 256
Arrays = dict[str, np.ndarray]


def validation_rows(count: int, validation: int) -> tuple[Int[np.ndarray, " train"], Int[np.ndarray, " validation"]]:
    """The fixed split of the training images into those that fit and the validation slice, spread over the nsdIds."""
    chosen = np.linspace(0, count - 1, validation).round().astype(int)
    return np.setdiff1d(np.arange(count), chosen), chosen


def make_ridge(folder: Path, betas: Arrays, targets: Float[np.ndarray, "n tokens width"], validation: int) -> None:
    """The ridge baseline and its estimates: cross-fitted for the images it was fitted on, plain for all others."""
    fit, held = validation_rows(len(targets), validation)
    tokens = np.asarray(targets, np.float32)
    parts = betas["train"][fit], tokens[fit], betas["train"][held], tokens[held]
    ridge = fit_ridge(*parts)
    ridge.save(folder / "ridge.safetensors")
    train = np.empty(tokens.shape, np.float32)
    train[held] = ridge.predict(betas["train"][held])
    train[fit] = cross_fitted(*parts)
    write_array(folder / "train.npy", train)
    write_array(folder / "test.npy", ridge.predict(betas["test"]))
    write_json(folder / "fit.json", {"alphas": ridge.alphas.tolist(), "validation_r2": ridge.r2.tolist()})


def as_tensor(array: np.ndarray) -> Tensor:
    """A float32 tensor of an array that may be memory-mapped or of half precision."""
    return torch.from_numpy(np.array(array, dtype=np.float32))


def brain_inputs(
    profile: Profile, betas: Float[np.ndarray, "n voxels"], linear: Float[np.ndarray, "n tokens width"]
) -> tuple[Float[Tensor, "n voxels"], Float[Tensor, "n tokens width"] | None]:
    """What a prior sees of brains: betas, and the ridge estimate only where the profile has a linear path."""
    return as_tensor(betas), as_tensor(linear) if profile.stage1.projector.linear_path else None


def make_prior(
    folder: Path, profile: Profile, betas: np.ndarray, linear: np.ndarray, targets: np.ndarray, seed: int, label: str
) -> None:
    """Stage I for one modality: train on the fitting images, watch the validation slice."""
    fit, held = (torch.from_numpy(rows) for rows in validation_rows(len(targets), profile.data.validation_images))
    every = Examples(*brain_inputs(profile, betas, linear), as_tensor(targets))
    prior, history = train_prior(profile.stage1, every.rows(fit), every.rows(held), folder, seed, label)
    prior.save(folder / "prior.safetensors")
    write_json(folder / "history.json", history)


def load_prior(folder: Path, profile: Profile, voxels: int, tokens: int, width: int) -> Prior:
    """The prior that `make_prior` wrote."""
    return Prior(profile.stage1, voxels, tokens, width).load(folder / "prior.safetensors")


def make_estimates(folder: Path, profile: Profile, prior: Prior, betas: Arrays, linear: Arrays, seed: int) -> None:
    """S samples of the prior for every stimulus of both splits, (n, S, T, D), kept as float16."""
    for split in SPLITS:
        inputs = brain_inputs(profile, betas[split], linear[split])
        seeds = range(seed * 1000, seed * 1000 + profile.stage1.samples)
        samples = [sampled(prior, *inputs, one, f"prior samples, {split}") for one in seeds]
        write_array(folder / f"{split}.npy", torch.stack(samples, 1).half().numpy())


def sampled(
    prior: Prior,
    betas: Float[Tensor, "n voxels"],
    linear: Float[Tensor, "n tokens width"] | None,
    seed: int,
    label: str,
) -> Float[Tensor, "n tokens width"]:
    """One sample of the prior for every row."""
    parts = []
    for start in tqdm(range(0, len(betas), SAMPLE_CHUNK), desc=label, unit="batch"):
        rows = slice(start, start + SAMPLE_CHUNK)
        parts.append(prior.sample(betas[rows], None if linear is None else linear[rows], seed + start))
    return torch.cat(parts)


class CorpusTokens:
    """Rows of the corpus -> their tokens in the prior's standardised units, held in memory once."""

    def __init__(self, ids: Int[np.ndarray, " m"], tokens: Float[Tensor, "m tokens width"], prior: Prior) -> None:
        self._place = torch.full((int(ids.max()) + 1,), -1, dtype=torch.int64)
        self._place[torch.from_numpy(ids)] = torch.arange(len(ids))
        self._tokens = prior.standardised(tokens.float())

    def __call__(self, rows: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape tokens width"]:
        return self._tokens[self._place[rows]]


def make_ram(
    folder: Path,
    profile: Profile,
    prior: Prior,
    estimates: np.ndarray,
    neighbours: np.ndarray,
    targets: np.ndarray,
    tokens_of: CorpusTokens,
    seed: int,
    label: str,
) -> None:
    """Stage II for one modality: train on the fitting images, watch the validation slice."""
    p, goal = prior.standardised(as_tensor(estimates)), prior.standardised(as_tensor(targets))
    ids = torch.from_numpy(np.array(neighbours))
    fit, held = (torch.from_numpy(rows) for rows in validation_rows(len(goal), profile.data.validation_images))
    parts = [RamExamples(p[rows], ids[rows], goal[rows]) for rows in (fit, held)]
    ram, history = train_ram(profile.stage2, *parts, tokens_of, folder, seed, label)
    weights = {name: weight.contiguous() for name, weight in ram.state_dict().items()}
    save_file(weights, folder / "ram.safetensors")
    write_json(folder / "history.json", history)


def load_ram(folder: Path, profile: Profile, neighbours: int, tokens: int, width: int) -> Ram:
    """The RAM that `make_ram` wrote."""
    ram = Ram(profile.stage2, neighbours, tokens, width)
    ram.load_state_dict(load_file(folder / "ram.safetensors"))
    return ram.eval()


def make_refined(
    folder: Path, ram: Ram, prior: Prior, estimates: np.ndarray, neighbours: np.ndarray, tokens_of: CorpusTokens
) -> None:
    """p + q for every sample of every test stimulus, in CLIP's units, and the weights that the RAM gave."""
    p = prior.standardised(as_tensor(estimates))
    refined, weights = refine(ram, p, torch.from_numpy(np.array(neighbours)), tokens_of)
    write_array(folder / "test.npy", prior.restored(refined).half().numpy())
    write_array(folder / "weights.npy", weights.numpy())


def make_reconstructions(
    folder: Path,
    image_tokens: Float[np.ndarray, "n samples image_tokens width"],
    text_tokens: Float[np.ndarray, "n samples text_tokens width"],
    paint: Callable[[np.ndarray, np.ndarray, str], UInt8[np.ndarray, "m height width 3"]],
    encode: Callable[[np.ndarray], Tensor],
    label: str,
) -> None:
    """One picture for each sample, and the one of each stimulus that agrees best with the brain's own estimate.

    `paint(image_tokens, text_tokens, label)` generates and `encode` gives a picture's image tokens. Neither sees the
    stimulus.
    """
    n, samples = image_tokens.shape[:2]
    flat = [np.asarray(one, np.float32).reshape(-1, *one.shape[2:]) for one in (image_tokens, text_tokens)]
    pictures = paint(*flat, label)
    every = pictures.reshape(n, samples, *pictures.shape[1:])
    chosen = choose(every, as_tensor(image_tokens), encode)
    write_array(folder / "samples.npy", every)
    write_array(folder / "agreement.npy", chosen.agreement)
    write_array(folder / "chosen.npy", chosen.images)


def encode_targets(
    folder: Path,
    encode: Callable[[object], Tensor],
    items: dict[str, Sequence[object] | np.ndarray],
    chunk: int,
    label: str,
) -> None:
    """Tokens of both splits' stimuli (or of their captions), float32."""
    for split in SPLITS:
        starts = range(0, len(items[split]), chunk)
        parts = [encode(items[split][start : start + chunk]) for start in tqdm(starts, desc=f"{label}, {split}")]
        write_array(folder / f"{split}.npy", torch.cat(parts).numpy())
