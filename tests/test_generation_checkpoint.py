"""The hub's layout: written here by diffusers' own classes, read by ours."""

import json

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.pipelines.deprecated.versatile_diffusion.modeling_text_unet import UNetFlatConditionModel
from safetensors.torch import load_file, save_file

from brainram_lib.generation.checkpoint import IMAGE_UNET, CheckpointError
from brainram_lib.generation.dual_unet import DualGuidedUNet, dual_transformers
from brainram_lib.generation.versatile_diffusion import VersatileDiffusion, load_generator

SHARED = {
    "in_channels": 4,
    "out_channels": 4,
    "sample_size": 8,
    "block_out_channels": (32, 64),
    "layers_per_block": 1,
    "attention_head_dim": 4,
    "norm_num_groups": 32,
    "cross_attention_dim": 12,
}
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    "block_out_channels": (8, 8),
    "layers_per_block": 1,
    "latent_channels": 4,
    "norm_num_groups": 4,
}


def write_hub_layout(folder, safe: bool = True) -> tuple[UNet2DConditionModel, UNetFlatConditionModel]:
    """A tiny random checkpoint as diffusers' own classes write it, with the encoders' configurations."""
    torch.manual_seed(0)
    image = UNet2DConditionModel(
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **SHARED,
    )
    text = UNetFlatConditionModel(
        down_block_types=("CrossAttnDownBlockFlat", "DownBlockFlat"),
        up_block_types=("UpBlockFlat", "CrossAttnUpBlockFlat"),
        **SHARED,
    )
    image.save_pretrained(folder / "image_unet", safe_serialization=safe)
    text.save_pretrained(folder / "text_unet", safe_serialization=safe)
    AutoencoderKL(**VAE).save_pretrained(folder / "vae", safe_serialization=safe)
    DDIMScheduler(beta_schedule="scaled_linear", steps_offset=1).save_pretrained(folder / "scheduler")
    for name, config in {
        "image_encoder": {"image_size": 32, "patch_size": 14, "projection_dim": 12},
        "text_encoder": {"max_position_embeddings": 7, "projection_dim": 12},
    }.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(config))
    return image.eval(), text.eval()


@torch.no_grad()
@pytest.mark.parametrize("safe", [True, False])
def test_the_hubs_layout_is_read_by_name(tmp_path, safe):
    image, text = write_hub_layout(tmp_path, safe)
    model = VersatileDiffusion.load(tmp_path)
    assert model.unet.config.image_tokens == (5, 12) and model.unet.config.text_tokens == (7, 12)
    latents, guide, words = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    time = torch.tensor([3, 700])
    assert torch.equal(model.unet(latents, time, guide, words, 0.0), image(latents, time, guide).sample)
    for name, site in dual_transformers(model.unet).items():
        for weight, stored in zip(site.text.parameters(), text.get_submodule(name).parameters(), strict=True):
            assert torch.equal(weight, stored)


@torch.no_grad()
def test_what_is_saved_is_read_back(tmp_path):
    write_hub_layout(tmp_path / "hub")
    model = VersatileDiffusion.load(tmp_path / "hub")
    model.save(tmp_path / "ours")
    again = load_generator(tmp_path / "ours", torch.float32).cpu()
    assert again.fingerprint == model.fingerprint
    assert json.loads((tmp_path / "ours/text_unet/config.json").read_text())["_class_name"] == "UNetFlatConditionModel"
    names = load_file(tmp_path / "ours/text_unet/diffusion_pytorch_model.safetensors")
    assert names and all(".attentions." in name for name in names)


@torch.no_grad()
def test_half_precision_on_disk_and_in_memory(tmp_path):
    write_hub_layout(tmp_path / "hub")
    model = VersatileDiffusion.load(tmp_path / "hub")
    model.save(tmp_path / "half", torch.float16)
    half = VersatileDiffusion.load(tmp_path / "half", torch.bfloat16)
    assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
    latents, guide, words = torch.randn(2, 4, 8, 8), torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    rounded = half.unet(latents.bfloat16(), torch.tensor([3, 700]), guide.bfloat16(), words.bfloat16(), 0.4)
    exact = model.unet(latents, torch.tensor([3, 700]), guide, words, 0.4)
    assert rounded.dtype == torch.bfloat16 and (rounded.float() - exact).abs().mean() < 0.05 * exact.abs().mean()


@torch.no_grad()
def test_the_small_models_flags_survive(tmp_path):
    config = {**SHARED, "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D")}
    config |= {"up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D")}
    model = VersatileDiffusion.random((5, 12), (7, 20), unet_config=config, vae_config=VAE)
    flags = {"position_channels": True, "position_codes": True, "whitened_tokens": True, "fold": 2}
    flagged = DualGuidedUNet(config, image_tokens=(5, 12), text_tokens=(7, 20), **flags).eval()
    VersatileDiffusion(flagged, model.vae, model.scheduler_config).save(tmp_path)
    again = VersatileDiffusion.load(tmp_path).unet
    given = torch.randn(2, 4, 8, 8), torch.tensor([3, 700]), torch.randn(2, 5, 12), torch.randn(2, 7, 20), 0.4
    assert again.config == flagged.config
    assert torch.equal(again(*given), flagged(*given))


def test_what_is_missing_is_named(tmp_path):
    write_hub_layout(tmp_path)
    (tmp_path / "text_encoder/config.json").unlink()
    with pytest.raises(CheckpointError, match="how many tokens guide it: neither dual_guided.json nor text_encoder"):
        VersatileDiffusion.load(tmp_path)
    assert VersatileDiffusion.load(tmp_path, text_tokens=(9, 12)).unet.config.text_tokens == (9, 12)
    path = tmp_path / "text_unet/diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    save_file({name: weight for name, weight in weights.items() if "mid_block.attentions" not in name}, path)
    with pytest.raises(CheckpointError, match=r"text_unet': weight 'mid_block.attentions.0.text.* found nothing"):
        VersatileDiffusion.load(tmp_path, text_tokens=(9, 12))
    path.unlink()
    with pytest.raises(FileNotFoundError, match="no weights in '.*text_unet'"):
        VersatileDiffusion.load(tmp_path, text_tokens=(9, 12))
    (tmp_path / "scheduler/scheduler_config.json").unlink()
    with pytest.raises(FileNotFoundError, match="scheduler_config.json' is missing"):
        load_generator(tmp_path)


def test_the_parts_must_fit(tmp_path):
    write_hub_layout(tmp_path)
    model = VersatileDiffusion.load(tmp_path)
    other = AutoencoderKL(**{**VAE, "latent_channels": 6})
    with pytest.raises(ValueError, match="works on 4 latent channels, the autoencoder has 6"):
        VersatileDiffusion(model.unet, other, model.scheduler_config)


FULL_TOKENS = {"image_tokens": (257, 768), "text_tokens": (77, 768)}


def test_the_full_size_is_the_published_one():
    with torch.device("meta"):
        network = DualGuidedUNet(IMAGE_UNET, **FULL_TOKENS)
    assert round(sum(weight.numel() for weight in network.parameters()) / 1e6) == 1127
    assert len(dual_transformers(network)) == 16


@pytest.mark.slow
@torch.no_grad()
def test_a_full_size_checkpoint_is_written_read_and_used(tmp_path):
    VersatileDiffusion.random(**FULL_TOKENS).save(tmp_path, torch.float16)
    model = VersatileDiffusion.load(tmp_path)
    model.unet.use_attention_slicing()
    guide, words = torch.randn(1, 257, 768), torch.randn(1, 77, 768)
    predicted = model.unet(torch.randn(1, 4, 64, 64), torch.tensor([500]), guide, words, 0.5)
    assert predicted.shape == (1, 4, 64, 64) and predicted.isfinite().all()
    assert model.decode(torch.randn(1, 4, 8, 8)).shape == (1, 64, 64, 3)
