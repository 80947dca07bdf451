"""The dual-guided network against the two U-Nets it is made of."""

import copy
import math

import pytest
import torch
from diffusers import UNet2DConditionModel

from brainram_lib.generation.dual_unet import (
    DualGuidedUNet,
    dual_transformers,
    image_position_codes,
    place_codes,
    position_channels_like,
    settings_of,
)

IMAGE_TOKENS, TEXT_TOKENS = (5, 12), (7, 20)
CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "sample_size": 8,
    "block_out_channels": (16, 24),
    "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
    "attention_head_dim": 2,
    "norm_num_groups": 8,
}


def build(**options) -> DualGuidedUNet:
    torch.manual_seed(0)
    return DualGuidedUNet(CONFIG, image_tokens=IMAGE_TOKENS, text_tokens=TEXT_TOKENS, **options).eval()


def inputs(batch: int = 2):
    generator = torch.Generator().manual_seed(1)
    shapes = ((batch, 3, 8, 6), (batch, *IMAGE_TOKENS), (batch, *TEXT_TOKENS))
    latents, image, text = (torch.randn(shape, generator=generator) for shape in shapes)
    return latents, torch.arange(batch) * 300 + 17, image, text


def plain_unet(network: DualGuidedUNet, route: str) -> UNet2DConditionModel:
    """A plain diffusers U-Net holding the shared weights and one route's transformers."""
    width = {"image": IMAGE_TOKENS, "text": TEXT_TOKENS}[route][1]
    settings = {**settings_of(network.unet.config), "cross_attention_dim": width}
    plain = UNet2DConditionModel.from_config(settings).eval()
    weights = {}
    for name, weight in network.unet.state_dict().items():
        if f".{route}." in name:
            weights[name.replace(f".{route}.", ".")] = weight
        elif not any(name.startswith(site) for site in dual_transformers(network)):
            weights[name] = weight
    plain.load_state_dict(weights)
    return plain


@torch.no_grad()
@pytest.mark.parametrize(("mix", "route"), [(0.0, "image"), (1.0, "text")])
def test_a_pure_route_is_that_unet_alone(mix, route):
    network = build()
    latents, times, image, text = inputs()
    alone = plain_unet(network, route)(latents, times, {"image": image, "text": text}[route]).sample
    assert torch.equal(network(latents, times, image, text, mix), alone)
    as_tensor = network(latents, times, image, text, torch.full((2,), mix))
    torch.testing.assert_close(as_tensor, alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_each_sample_has_its_own_mix():
    network = build()
    latents, times, image, text = inputs()
    both = network(latents, times, image, text, torch.tensor([0.25, 0.8]))
    for row, mix in enumerate((0.25, 0.8)):
        one = (value[row : row + 1] for value in (latents, times, image, text))
        torch.testing.assert_close(both[row : row + 1], network(*one, mix), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_site_adds_both_residuals_by_their_share():
    site = dual_transformers(build())["down_blocks.0.attentions.0"]
    hidden = torch.randn(2, 16, 4, 5)
    image, text = torch.randn(2, *IMAGE_TOKENS), torch.randn(2, *TEXT_TOKENS)
    mixed = site(hidden, image, cross_attention_kwargs={"text_tokens": text, "text_mix": 0.3})[0]
    by_image, by_text = (site.image(hidden, image, return_dict=False)[0], site.text(hidden, text, return_dict=False)[0])
    torch.testing.assert_close(mixed, 0.3 * by_text + 0.7 * by_image)


def test_both_routes_and_the_trunk_learn():
    network = build(position_channels=True, position_codes=True, whitened_tokens=True, fold=2).train()
    latents, times, image, text = inputs()
    network(latents, times, image, text, torch.tensor([0.0, 0.6])).square().mean().backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in network.parameters())


@torch.no_grad()
def test_folded_latents_are_the_same_network_on_a_quarter_of_the_positions():
    network, (latents, times, image, text) = build(fold=2), inputs()
    folded = latents.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 1, 4, 5, 2, 3).reshape(2, 12, 4, 3)
    routes = {"text_tokens": text, "text_mix": 0.4}
    inside = network.unet(folded, times, image, cross_attention_kwargs=routes).sample
    unfolded = inside.reshape(2, 3, 2, 2, 4, 3).permute(0, 1, 4, 2, 5, 3).reshape(2, 3, 8, 6)
    torch.testing.assert_close(network(latents, times, image, text, 0.4), unfolded)
    with pytest.raises(ValueError, match="multiples of 2"):
        network(latents[..., :5], times, image, text, 0.4)


@torch.no_grad()
def test_whitened_tokens_reach_the_transformers():
    network, (latents, times, image, text) = build(whitened_tokens=True), inputs()
    fresh = network(latents, times, image, text, 0.4)
    torch.testing.assert_close(fresh, build()(latents, times, image, text, 0.4))
    network.whitening["text"].fit(torch.randn(50, *TEXT_TOKENS) * 3 + 1)
    by_hand = build()(latents, times, image, network.whitening["text"](text), 0.4)
    torch.testing.assert_close(network(latents, times, image, text, 0.4), by_hand)


def test_gradient_checkpointing_keeps_the_gradients():
    network, latents_and_more = build().train(), inputs()
    recomputed = copy.deepcopy(network)
    recomputed.use_gradient_checkpointing()
    for each in (network, recomputed):
        each(*latents_and_more, 0.4).square().mean().backward()
    for plain, again in zip(network.parameters(), recomputed.parameters(), strict=True):
        torch.testing.assert_close(plain.grad, again.grad)


@torch.no_grad()
def test_attention_slicing_changes_nothing():
    network = build()
    whole = network(*inputs(), 0.4)
    network.use_attention_slicing()
    torch.testing.assert_close(network(*inputs(), 0.4), whole, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_tokens_of_every_place_count_with_position_codes():
    plain, coded = build(), build(position_codes=True)
    latents, times, image, text = inputs()
    swapped = image[:, [0, 2, 1, 3, 4]]
    difference = {
        name: (network(latents, times, image, text, 0.0) - network(latents, times, swapped, text, 0.0)).abs().max()
        for name, network in (("plain", plain), ("coded", coded))
    }
    assert difference["plain"] < 1e-5 < difference["coded"]


def test_latents_and_image_tokens_carry_the_same_codes_of_their_places():
    channels = position_channels_like(torch.zeros(2, 5, 8, 8))
    codes = image_position_codes(65, 48)
    assert channels.shape == (2, 16, 8, 8) and codes.shape == (65, 48) and not codes[0].any()
    at_places = channels[0].flatten(1).T / 2**0.5
    torch.testing.assert_close(codes[1:], at_places.repeat(1, 3))
    alike = at_places @ at_places.T
    assert (alike.argmax(1) == torch.arange(64)).all() and alike[
        ~torch.eye(64, dtype=torch.bool)
    ].max() < 0.6 * alike.max()


def test_codes_of_places():
    codes = place_codes(4)
    assert codes.shape == (4, 8)
    assert codes[1, 2].item() == pytest.approx(2**0.5 * math.cos(math.pi * 3 * 1.5 / 4))
    assert len(image_position_codes(10, 12).unique(dim=0)) == 10
    with pytest.raises(ValueError, match="square grid of image tokens after token 0, got 7 tokens"):
        image_position_codes(7, 12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(2, 4, 12)}, r"image tokens must be .* = \(2, 5, 12\), got \(2, 4, 12\)"),
        ({"text": torch.zeros(2, 0, 20)}, r"text tokens must be .* = \(2, 7, 20\), got \(2, 0, 20\)"),
        ({"text": torch.zeros(3, 7, 20)}, r"text tokens must be .* got \(3, 7, 20\)"),
        ({"latents": torch.zeros(2, 4, 8, 8)}, r"latents must be \(batch, 3, height, width\), got \(2, 4, 8, 8\)"),
        ({"mix": 1.2}, r"text_mix must lie in \[0, 1\].* got 1.2"),
        ({"mix": torch.zeros(3)}, r"text_mix must be a number or \(2,\).* got \(3,\)"),
    ],
)
def test_wrong_shapes_are_named(change, message):
    latents, times, image, text = inputs()
    given = {"latents": latents, "image": image, "text": text, "mix": 0.5, **change}
    with pytest.raises(ValueError, match=message):
        build()(given["latents"], times, given["image"], given["text"], given["mix"])
