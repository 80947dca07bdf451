"""Table 4's fusions: the interface that they share, and each against a plain loop."""

import math
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from brainram_lib.stage1 import network
from brainram_lib.stage2.evidence import FEATURES
from brainram_lib.stage2.fusions import FUSIONS, build
from brainram_lib.stage2.ram import Ram
from brainram_lib.stage2.settings import FUSION_NAMES, Stage2Settings

N, K, TOKENS, WIDTH, HEADS = 4, 3, 5, 8, 2
SETTINGS = Stage2Settings(heads=HEADS, fusion_hidden=6, epochs=4, batch=7, dropout=0.1)
TRAINED = [name for name, fusion in FUSIONS.items() if fusion.trained]


def fusion_of(name, neighbours=K, spread=0.3):
    """A fusion in evaluation mode whose weights are all random, unless `spread` is 0."""
    torch.manual_seed(2)
    fusion = build(replace(SETTINGS, fusion=name), neighbours, TOKENS, WIDTH).eval()
    for weight in fusion.parameters() if spread else ():
        torch.nn.init.normal_(weight, std=spread)
    return fusion


def inputs(neighbours=K):
    torch.manual_seed(0)
    return torch.randn(N, TOKENS, WIDTH), torch.randn(N, neighbours, TOKENS, WIDTH)


def average_reference(fusion, p, c):
    q = torch.zeros_like(p)
    for b in range(N):
        for t in range(TOKENS):
            total = p[b, t].clone()
            for k in range(K):
                total += c[b, k, t]
            q[b, t] = total / (K + 1) - p[b, t]
    return q


def conv1x1_reference(fusion, p, c):
    blocks = fusion.merge.weight.split(WIDTH, dim=1)  # the map of p, then one of each neighbour
    q = torch.zeros_like(p)
    for b in range(N):
        for t in range(TOKENS):
            q[b, t] = fusion.merge.bias + blocks[0] @ p[b, t]
            for k in range(K):
                q[b, t] += blocks[k + 1] @ c[b, k, t]
    return q


def attended_reference(attention, query, sources):
    """One picture: (T, D) queries and a list of source tokens (D), every score on its own."""
    key, value = attention.key_value.weight.chunk(2)
    size = WIDTH // HEADS
    attended = []
    for token in query:
        mixed = torch.zeros(WIDTH)
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            asked = (attention.query.weight @ token)[part]
            scores = torch.stack([asked @ (key @ one)[part] / math.sqrt(size) for one in sources]).softmax(0)
            mixed[part] = sum(score * (value @ one)[part] for score, one in zip(scores, sources, strict=True))
        attended.append(attention.out(mixed))
    return attended


def cross_attention_reference(fusion, p, c):
    q = torch.zeros_like(p)
    for b in range(N):
        query = [fusion.norm(p[b, t] + fusion.position[t]) for t in range(TOKENS)]
        sources = [
            fusion.norm(c[b, k, t] + fusion.position[t] + fusion.source[k, 0]) for k in range(K) for t in range(TOKENS)
        ]
        for t, attended in enumerate(attended_reference(fusion.attention, query, sources)):
            mean = sum(c[b, k, t] for k in range(K)) / K
            mixed = fusion.mix(torch.cat([attended, p[b, t], mean]))
            q[b, t] = fusion.last(torch.cat([mixed, mean - p[b, t]]))
    return q


def bare_cross_attention_reference(fusion, p, c):
    rows = [attended_reference(fusion.attention, p[b], c[b].flatten(0, 1)) for b in range(N)]
    return torch.stack([torch.stack(tokens) for tokens in rows])


def printed_divide(divide, p, source):
    return attended_reference(divide.attention, p, source)


def divide_with_difference(divide, p, source):
    query, keys = (divide.norm(one + divide.position) for one in (p, source))
    attended = attended_reference(divide.attention, query, keys)
    mixed = [divide.mix(torch.cat([attended[t], p[t], source[t]])) for t in range(TOKENS)]
    return [divide.last(torch.cat([mixed[t], source[t] - p[t]])) for t in range(TOKENS)]


def ram_reference(fusion, p, c, divided=printed_divide):
    q = torch.zeros_like(p)
    for b in range(N):
        u = [divided(fusion.divide, p[b], source) for source in [p[b], *c[b]]]
        for t in range(TOKENS):
            mean = fusion.fuse.norm(sum(one[t] for one in u) / (K + 1))
            z = [torch.tanh(mean @ fusion.fuse.inner[k]) @ fusion.fuse.outer[k] for k in range(K + 1)]
            weights = torch.stack(z).softmax(0)
            q[b, t] = sum(weights[k] * u[k][t] for k in range(K + 1))
    return q


def difference_ram_reference(fusion, p, c):
    return ram_reference(fusion, p, c, divide_with_difference)


def choosing_ram_reference(fusion, p, c):
    q = torch.zeros_like(p)
    for b in range(N):
        scores, us = [], []
        for k in range(K + 1):
            source, said = (p[b], torch.ones(FEATURES)) if k == 0 else (c[b, k - 1], EVIDENCE[b, k - 1])
            seen = [torch.cat([p[b, t], source[t], p[b, t] * source[t]]) for t in range(TOKENS)]
            h = torch.stack([fusion.enter(seen[t]) + fusion.position[t] + fusion.evidence(said) for t in range(TOKENS)])
            h = fusion.norm(fusion.layers(h[None])[0])
            scores.append([fusion.weigh(h[t])[0] + said @ fusion.speaks for t in range(TOKENS)])
            us.append([fusion.out(h[t]) for t in range(TOKENS)])
            for t in range(TOKENS):
                if k == 0:
                    scores[0][t] = scores[0][t] + fusion.own
                else:
                    us[k][t] = us[k][t] + p[b, t] @ fusion.from_p[t] - p[b, t] + source[t] @ fusion.from_neighbour[t]
        for t in range(TOKENS):
            weights = torch.stack([scores[k][t] for k in range(K + 1)]).softmax(0)
            q[b, t] = sum(weights[k] * us[k][t] for k in range(K + 1))
    return q


REFERENCES = {
    "ram": ram_reference,
    "average": average_reference,
    "conv1x1": conv1x1_reference,
    "cross-attention": cross_attention_reference,
    "bare-cross-attention": bare_cross_attention_reference,
    "difference-ram": difference_ram_reference,
    "choosing-ram": choosing_ram_reference,
}
EVIDENCE = torch.rand(N, K, FEATURES, generator=torch.Generator().manual_seed(4))


def test_the_settings_name_every_fusion():
    assert tuple(FUSIONS) == FUSION_NAMES and REFERENCES.keys() == FUSIONS.keys()
    assert isinstance(build(SETTINGS, K, TOKENS, WIDTH), Ram)


def test_an_unknown_fusion_is_named_with_the_allowed_ones():
    allowed = f"one of {', '.join(FUSION_NAMES)}. 'sum' was"
    with pytest.raises(ValueError, match=allowed):
        replace(SETTINGS, fusion="sum")


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_equals_its_loop(name):
    fusion, (p, c) = fusion_of(name), inputs()
    with torch.no_grad():
        torch.testing.assert_close(fusion(p, c, EVIDENCE)[0], REFERENCES[name](fusion, p, c), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_q_is_zero_before_training(name):
    p, c = inputs()
    assert torch.equal(fusion_of(name, spread=0).train()(p, c, EVIDENCE)[0], torch.zeros_like(p))


@pytest.mark.parametrize("name", FUSIONS)
def test_weights_that_are_returned_sum_to_one(name):
    p, c = inputs()
    weights = fusion_of(name)(p, c, EVIDENCE)[1]
    assert (
        (weights is not None)
        == FUSIONS[name].weighs
        == (name not in ("conv1x1", "cross-attention", "bare-cross-attention"))
    )
    if weights is not None:
        assert weights.shape == (N, K + 1, TOKENS)
        torch.testing.assert_close(weights.sum(1), torch.ones(N, TOKENS))


@pytest.mark.parametrize("name", FUSIONS)
def test_another_number_of_neighbours_is_refused(name):
    fusion, (p, c) = fusion_of(name), inputs(K + 1)
    with pytest.raises(
        ValueError, match=r"must have shape \(batch, 3, 5, 8\). \(4, 4, 5, 8\) was provided. Retrieve 3"
    ):
        fusion(p, c)


@pytest.mark.parametrize("name", FUSIONS)
def test_other_tokens_are_refused(name):
    fusion = fusion_of(name)
    with pytest.raises(ValueError, match=r"must have shape \(batch, 3, 5, 8\)"):
        # past the check of shapes that tests put on every signature
        type(fusion).forward.__wrapped__(fusion, torch.zeros(N, TOKENS, WIDTH), torch.zeros(N, K, TOKENS + 1, WIDTH))


@pytest.mark.parametrize("name", FUSIONS)
def test_a_fusion_comes_back_from_its_file_and_has_a_device(name, tmp_path):
    fusion, again, (p, c) = fusion_of(name), fusion_of(name, spread=0), inputs()
    save_file(fusion.state_dict(), tmp_path / "fusion.safetensors")
    again.load_state_dict(load_file(tmp_path / "fusion.safetensors"))
    assert torch.equal(fusion(p, c, EVIDENCE)[0], again(p, c, EVIDENCE)[0])
    assert fusion.device == torch.device("cpu") and fusion.to("meta").device == torch.device("meta")


@pytest.mark.parametrize("name", TRAINED)
def test_every_weight_learns(name):
    fusion, (p, c) = fusion_of(name, spread=0).train(), inputs()
    optimizer = torch.optim.SGD(fusion.parameters(), lr=0.1)
    for _ in range(3):  # the zero-initialised layers pass gradients on from their second step
        optimizer.zero_grad()
        (p + fusion(p, c, EVIDENCE)[0] - c[:, 0]).square().mean().backward()
        optimizer.step()
    assert not [key for key, weight in fusion.named_parameters() if weight.grad is None or not weight.grad.any()]


def test_the_printed_ram_and_the_bare_cross_attention_are_of_like_size():
    """Both are the attention of eq. 7; the RAM has the weights' small networks beside it."""
    sizes = {name: sum(w.numel() for w in fusion_of(name).parameters()) for name in ("ram", "bare-cross-attention")}
    fuse = sum(weight.numel() for weight in fusion_of("ram").fuse.parameters())
    assert sizes["ram"] - fuse == sizes["bare-cross-attention"]


def test_average_has_nothing_to_train_and_its_residual_is_not_zero():
    average = fusion_of("average", spread=0)
    assert not average.trained and not list(average.parameters()) and not average.state_dict()
    assert average(*inputs())[0].any()


def test_average_of_known_numbers():
    p, c = torch.full((1, 1, 1), 4.0), torch.tensor([0.0, 8.0, 16.0]).view(1, 3, 1, 1)
    q, weights = build(replace(SETTINGS, fusion="average"), 3, 1, 1)(p, c)
    assert q.item() == 3.0 and weights.flatten().tolist() == [0.25] * 4  # the mean is 7


def test_average_does_not_depend_on_the_order_of_neighbours():
    average, (p, c) = fusion_of("average"), inputs()
    torch.testing.assert_close(average(p, c)[0], average(p, c[:, [2, 0, 1]])[0])


def test_conv1x1_can_be_the_average():
    fusion, (p, c) = fusion_of("conv1x1"), inputs()
    share = torch.eye(WIDTH) / (K + 1)
    with torch.no_grad():
        fusion.merge.weight.copy_(torch.cat([share - torch.eye(WIDTH), *[share] * K], dim=1))
        fusion.merge.bias.zero_()
    torch.testing.assert_close(fusion(p, c)[0], fusion_of("average")(p, c)[0])


def test_conv1x1_is_torchs_convolution_with_kernel_one():
    fusion, (p, c) = fusion_of("conv1x1"), inputs()
    channels = torch.cat([p[:, None], c], dim=1).permute(0, 1, 3, 2).flatten(1, 2)
    found = functional.conv1d(channels, fusion.merge.weight[..., None], fusion.merge.bias)
    torch.testing.assert_close(fusion(p, c)[0], found.transpose(1, 2))


def test_cross_attention_can_go_a_share_of_the_way_to_the_mean_neighbour():
    fusion, (p, c) = fusion_of("cross-attention", spread=0), inputs()
    with torch.no_grad():
        fusion.last.weight[:, -WIDTH:] = 0.4 * torch.eye(WIDTH)
    torch.testing.assert_close(fusion(p, c)[0], 0.4 * (c.mean(1) - p))


def test_cross_attention_whose_queries_are_zero_is_the_mean_of_all_tokens():
    """Equal scores: a = mean of the K * T normalised sources, when values and output are the identity."""
    fusion, (p, c) = fusion_of("cross-attention", spread=0), inputs()
    with torch.no_grad():
        for code in (fusion.position, fusion.source, fusion.attention.query.weight, fusion.attention.out.bias):
            code.zero_()
        fusion.attention.key_value.weight[WIDTH:] = torch.eye(WIDTH)
        fusion.attention.out.weight.copy_(torch.eye(WIDTH))
    attended = fusion.attention(p, fusion.norm(c.flatten(1, 2)))
    expected = functional.layer_norm(c, (WIDTH,)).mean((1, 2))
    torch.testing.assert_close(attended, expected[:, None].expand(N, TOKENS, WIDTH))


def test_cross_attention_knows_neighbours_by_their_codes_alone():
    fusion, (p, c) = fusion_of("cross-attention"), inputs()
    mixed = c[:, [2, 0, 1]]
    assert not torch.allclose(fusion(p, c)[0], fusion(p, mixed)[0], atol=1e-4)
    torch.nn.init.zeros_(fusion.source)
    torch.testing.assert_close(fusion(p, c)[0], fusion(p, mixed)[0])


class Largest(TorchDispatchMode):
    """The numbers in the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        made = function(*arguments, **(settings or {}))
        parts = made if isinstance(made, (tuple, list)) else (made,)
        self.numbers = max([self.numbers, *[part.numel() for part in parts if isinstance(part, torch.Tensor)]])
        return made


def test_cross_attention_to_sixteen_neighbours_never_holds_its_scores(monkeypatch):
    """257 tokens and K = 16: through torch's kernel, no tensor is as large as one head's (T, K * T) scores."""
    tokens, neighbours, asked = 257, 16, []
    real = functional.scaled_dot_product_attention

    def watched(query, key, value):
        asked.append((tuple(query.shape), tuple(key.shape)))
        return real(query, key, value)

    monkeypatch.setattr(network.functional, "scaled_dot_product_attention", watched)
    fusion = build(replace(SETTINGS, fusion="cross-attention"), neighbours, tokens, WIDTH)
    with Largest() as largest:
        fusion(torch.randn(1, tokens, WIDTH), torch.randn(1, neighbours, tokens, WIDTH))[0].sum().backward()
    size = WIDTH // HEADS
    assert asked == [((1, HEADS, tokens, size), (1, HEADS, neighbours * tokens, size))]
    assert neighbours * tokens * WIDTH <= largest.numbers < tokens * neighbours * tokens
