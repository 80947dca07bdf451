"""CLIP's tokens against transformers' own classes holding the same random weights, at small and at full size."""

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file
from transformers import (
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
)

from brainram_lib.encoders import ClipTokens, HuggingFaceTokeniser, load_encoder

CONTEXT = 11
SMALL_VISION = {"image_size": 28, "patch_size": 14, "width": 24, "layers": 2, "head_width": 12}
SMALL_TEXT = {"context_length": CONTEXT, "vocab_size": 49408, "width": 20, "heads": 5, "layers": 3}
FULL_VISION = {"image_size": 224, "patch_size": 14, "width": 1024, "layers": 24, "head_width": 64}
FULL_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 768, "heads": 12, "layers": 12}


def stirred(width: int, vision: dict, text: dict) -> CLIP:
    """A random CLIP whose norms and offsets are not at their neutral initial values."""
    torch.manual_seed(0)
    model = CLIP(width, vision, text, quick_gelu=True)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim == 1:
                weight.add_(0.1 * torch.randn_like(weight))
            elif name.endswith("positional_embedding"):
                weight.add_(0.02 * torch.randn_like(weight))
    return model


def blocks_renamed(weights: dict, start: str) -> dict:
    """open_clip's residual blocks under transformers' names."""
    renames = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2"}
    renamed = {}
    for name, weight in weights.items():
        if not name.startswith(f"{start}transformer.resblocks."):
            continue
        layer, rest = name.removeprefix(f"{start}transformer.resblocks.").split(".", 1)
        if rest.startswith("attn.in_proj_"):
            for part, third in zip("qkv", weight.chunk(3), strict=True):
                renamed[f"encoder.layers.{layer}.self_attn.{part}_proj.{rest.removeprefix('attn.in_proj_')}"] = third
            continue
        rest = rest.replace("attn.out_proj", "self_attn.out_proj")
        for theirs, ours in renames.items():
            rest = rest.replace(theirs, ours)
        renamed[f"encoder.layers.{layer}.{rest}"] = weight
    return renamed


def load_renamed(network: torch.nn.Module, prefix: str, weights: dict) -> None:
    """Load inner weights and the projection; nothing may be missing or left over."""
    inner = {name: weight for name, weight in weights.items() if "projection" not in name}
    outer = {name: weight for name, weight in weights.items() if "projection" in name}
    network.load_state_dict({**{f"{prefix}.{name}": weight for name, weight in inner.items()}, **outer})


def vision_twin(model: CLIP, vision: dict, width: int) -> CLIPVisionModelWithProjection:
    twin = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=vision["width"],
            intermediate_size=4 * vision["width"],
            projection_dim=width,
            num_hidden_layers=vision["layers"],
            num_attention_heads=vision["width"] // vision["head_width"],
            image_size=vision["image_size"],
            patch_size=vision["patch_size"],
            hidden_act="quick_gelu",
        )
    ).eval()
    stored = model.state_dict()
    names = {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.weight": "conv1.weight",
        "embeddings.position_embedding.weight": "positional_embedding",
        **{f"pre_layrnorm.{part}": f"ln_pre.{part}" for part in ("weight", "bias")},
        **{f"post_layernorm.{part}": f"ln_post.{part}" for part in ("weight", "bias")},
    }
    weights = {theirs: stored[f"visual.{ours}"] for theirs, ours in names.items()}
    weights |= blocks_renamed(stored, "visual.") | {"visual_projection.weight": stored["visual.proj"].T}
    load_renamed(twin, "vision_model", weights)
    return twin


def text_twin(model: CLIP, text: dict, width: int) -> CLIPTextModelWithProjection:
    twin = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=text["vocab_size"],
            hidden_size=text["width"],
            intermediate_size=4 * text["width"],
            projection_dim=width,
            num_hidden_layers=text["layers"],
            num_attention_heads=text["heads"],
            max_position_embeddings=text["context_length"],
            hidden_act="quick_gelu",
            bos_token_id=49406,
            eos_token_id=49407,
        )
    ).eval()
    stored = model.state_dict()
    weights = {
        "embeddings.token_embedding.weight": stored["token_embedding.weight"],
        "embeddings.position_embedding.weight": stored["positional_embedding"],
        **{f"final_layer_norm.{part}": stored[f"ln_final.{part}"] for part in ("weight", "bias")},
    }
    weights |= blocks_renamed(stored, "") | {"text_projection.weight": stored["text_projection"].T}
    load_renamed(twin, "text_model", weights)
    return twin


@torch.no_grad()
def assert_equal_to_transformers(width: int, vision: dict, text: dict, pictures: np.ndarray) -> None:
    model = stirred(width, vision, text)
    tokenise = HuggingFaceTokeniser(text["context_length"])
    encoder = ClipTokens(model, tokenise, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    seen = vision_twin(model, vision, width)
    hidden = seen(encoder.to_pixels(pictures)).last_hidden_state
    expected = seen.visual_projection(seen.vision_model.post_layernorm(hidden))
    expected = expected / expected[:, :1].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(encoder.image_tokens(pictures), expected, atol=1e-4, rtol=1e-4)
    read = text_twin(model, text, width)
    captions = ["A dog's 2 red balls", "", "two zebras in the snow, at night " * 9]
    found = read(tokenise(captions))
    expected = read.text_projection(found.last_hidden_state) / found.text_embeds.norm(dim=-1)[:, None, None]
    torch.testing.assert_close(encoder.text_tokens([[one] for one in captions]), expected, atol=1e-4, rtol=1e-4)
    pooled = torch.nn.functional.normalize(found.text_embeds, dim=-1)
    torch.testing.assert_close(encoder.pooled_texts(captions), pooled, atol=1e-4, rtol=1e-4)


def pictures_of(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def test_small_tokens_equal_transformers():
    assert_equal_to_transformers(16, SMALL_VISION, SMALL_TEXT, pictures_of(3, 41, 57))


@pytest.mark.slow
def test_full_tokens_equal_transformers():
    assert_equal_to_transformers(768, FULL_VISION, FULL_TEXT, pictures_of(1, 425, 425))


@pytest.fixture(scope="module")
def mini() -> ClipTokens:
    return load_encoder("mini")


def test_token_0_is_the_global_embedding(mini):
    pictures = pictures_of(3, 64, 64)
    tokens = mini.image_tokens(pictures)
    pooled = mini.pooled_images(list(pictures))
    torch.testing.assert_close(tokens[:, 0], pooled)
    torch.testing.assert_close(pooled.norm(dim=-1), torch.ones(3))
    with torch.no_grad():
        whole = mini.model.encode_image(mini.to_pixels(pictures), normalize=True)
        words = mini.model.encode_text(mini.tokenise(["a red dog", "two cups"]), normalize=True)
    torch.testing.assert_close(pooled, whole, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(mini.pooled_texts(["a red dog", "two cups"]), words, atol=1e-5, rtol=1e-4)


def test_captions_are_averaged_and_batches_change_nothing(mini):
    groups = [["a dog", "a brown dog on the grass"], ["a cat"], ["two cups", "a cup", "a mug"]]
    tokens = mini.text_tokens(groups)
    alone = torch.stack([torch.cat([mini.text_tokens([[one]]) for one in group]).mean(0) for group in groups])
    torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-4)
    small = ClipTokens(mini.model, mini.tokenise, (0.55, 0.53, 0.52), (0.27, 0.26, 0.27), batch_size=2)
    torch.testing.assert_close(small.text_tokens(groups), tokens, atol=1e-5, rtol=1e-4)
    assert small.fingerprint == mini.fingerprint


def test_null_tokens_have_the_tokens_shapes(mini):
    assert mini.blank_image_tokens().shape[1:] == mini.image_tokens(pictures_of(1, 64, 64)).shape[1:]
    torch.testing.assert_close(mini.empty_text_tokens(), mini.text_tokens([[""]]))
    black = mini.image_tokens(np.zeros((1, 64, 64, 3), np.uint8))
    torch.testing.assert_close(mini.blank_image_tokens(), black, atol=0.2, rtol=0.2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mini: mini.image_tokens([np.zeros((4, 5, 3), np.uint8)[:0]] * 0), "nothing was handed in"),
        (lambda mini: mini.text_tokens([["a dog"], []]), r"at least one caption for each image, got \[\] at 1"),
        (lambda mini: ClipTokens.from_open_clip("ViT-Z"), r"must be one of open_clip.list_models\(\). 'ViT-Z' was"),
        (lambda mini: ClipTokens.from_open_clip("ViT-L-14", "openai"), "quick GELU: use 'ViT-L-14-quickgelu'"),
    ],
)
def test_mistakes_are_named(mini, call, message):
    with pytest.raises(ValueError, match=message):
        call(mini)


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_the_image_tower_alone_sees_the_same_and_reads_no_caption(tmp_path, monkeypatch, ending):
    settings = {"embed_dim": 16, "vision_cfg": SMALL_VISION, "text_cfg": SMALL_TEXT, "quick_gelu": True}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "small", settings)
    weights, path = stirred(16, SMALL_VISION, SMALL_TEXT).state_dict(), tmp_path / f"clip.{ending}"
    save_file(weights, path) if ending == "safetensors" else torch.save(weights, path)
    whole = ClipTokens.from_open_clip("small", path)
    alone = ClipTokens.from_open_clip("small", path, images_alone=True)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), np.uint8)
    torch.testing.assert_close(alone.image_tokens(pictures), whole.image_tokens(pictures), rtol=0, atol=0)
    assert alone.model.token_embedding.weight.is_meta and not alone.model.visual.proj.is_meta
    whole.pooled_texts(["a dog"])
    with pytest.raises(ValueError, match="loaded for images alone. Load it with images_alone=False"):
        alone.pooled_texts(["a dog"])
