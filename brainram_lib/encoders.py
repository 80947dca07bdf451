"""CLIP's tokens in Versatile Diffusion's convention.

Image: last hidden state -> final layer norm -> projection, every token divided by the norm of token 0, which thereby
becomes the normalised global image embedding. Text: final layer norm -> projection, divided by the norm of the
end-of-text token, averaged over an image's captions (BrainRAM 4.2). Shapes follow from the CLIP that is passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import open_clip
import torch
from jaxtyping import Float, Int64, UInt8
from open_clip.model import CLIP
from open_clip.tokenizer import SimpleTokenizer
from PIL import Image
from safetensors import safe_open
from torch import Tensor
from tqdm.auto import tqdm
from transformers import CLIPTokenizer

from brainram_lib.core.devices import accelerator
from brainram_lib.core.measure import let_go
from brainram_lib.core.published import PUBLISHED
from brainram_lib.nsd.errors import shortened
from brainram_lib.world import mini_clip

# rows and columns, because in these signatures `width` is that of the tokens
Images = UInt8[np.ndarray, "n rows columns 3"] | Sequence[UInt8[np.ndarray, "_ _ 3"]]
Tokenise = Callable[[list[str]], Int64[Tensor, "texts context"]]
# Versatile Diffusion's 'no image' is a picture of 0.5 that its preprocessing divides by 255.
BLANK_PIXEL = 0.5 / 255
# A picture with a larger aspect ratio than this is cropped before it is resized.
LONGEST = 16


def load_encoder(name: str, pretrained: str | Path | None = "openai", images_alone: bool = False) -> ClipTokens:
    """The encoder of a profile: 'mini', or an architecture of open_clip with its weights, on a GPU if there is one.

    Args:
        name: 'mini' or open_clip's name, e.g. 'ViT-L-14-quickgelu'.
        pretrained: open_clip's tag or a file of weights; ignored for 'mini'.
        images_alone: load without the text tower; ignored for 'mini'.
    """
    if name == "mini":
        return ClipTokens.mini()
    return ClipTokens.from_open_clip(name, pretrained, accelerator().type, images_alone)


class ClipTokens:
    """A frozen open_clip CLIP as a source of tokens and pooled embeddings. Everything comes back on the CPU, float32.

    Args:
        model: the network, on the device where it will run.
        tokenise: captions -> ids (texts, context), padded with the end of text as Hugging Face does: open_clip's own
            padding with 0 gives the same pooled embedding but different tokens at the padded positions.
        mean, std: normalisation of RGB pixels in [0, 1].
        batch_size: pictures or captions at a time.
    """

    def __init__(
        self,
        model: CLIP,
        tokenise: Tokenise,
        mean: Sequence[float],
        std: Sequence[float],
        batch_size: int = 64,
    ) -> None:
        self.model, self.tokenise, self.batch_size = model.eval().requires_grad_(False), tokenise, batch_size
        self._mean, self._std = (torch.tensor(value).view(3, 1, 1) for value in (mean, std))

    @classmethod
    def from_open_clip(
        cls, name: str, pretrained: str | Path | None = None, device: str = "cpu", images_alone: bool = False
    ) -> ClipTokens:
        """A CLIP of open_clip.

        Args:
            name: the architecture, e.g. 'ViT-L-14-quickgelu' (the openai weights need the quick GELU).
            pretrained: 'openai' (the pinned revision in the hub's cache where `published` has one), another of
                open_clip's tags (fetched once), a file of weights, or None for random weights.
            device: where it runs.
            images_alone: load without the text tower, which saves 0.5 GB for ViT-L/14; with safetensors weights, no
                second copy of the other weights passes through memory either.

        Raises:
            FileNotFoundError: the pinned weights are not in the hub's cache; the message says how to fetch them.
            ValueError: the name is not one of open_clip's, or pairs the openai weights with the wrong activation.
        """
        if name not in open_clip.list_models():
            raise ValueError(f"'name' must be one of open_clip.list_models(). '{name}' was provided.")
        if pretrained == "openai" and "quickgelu" not in name:
            raise ValueError(f"the openai weights need the quick GELU: use '{name}-quickgelu' instead of '{name}'.")
        weights = None if pretrained is None else str(pretrained)
        if pretrained == "openai" and name in PUBLISHED:
            pinned = PUBLISHED[name]
            weights = str(pinned.require() / pinned.files[0])
        # open_clip reads files through torch's weights-only loader or safetensors
        read = images_tower if images_alone else partial(open_clip.create_model, weights_only=True)
        model = read(name, pretrained=weights, device=device)
        tokenise = HuggingFaceTokeniser(model.context_length)
        # a picture takes seconds on a CPU, so progress is shown after a few of them
        batch_size = 4 if device == "cpu" else 64
        return cls(model, tokenise, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD, batch_size)

    @classmethod
    def mini(cls) -> ClipTokens:
        """The embedded world's CLIP."""
        model, tokenise = mini_clip.load()
        return cls(model, tokenise, mini_clip.PIXEL_MEAN, mini_clip.PIXEL_STD, batch_size=250)

    @property
    def image_size(self) -> int:
        """Side of the network's square pictures, pixels."""
        size = self.model.visual.image_size
        return size if isinstance(size, int) else size[0]

    @property
    def device(self) -> torch.device:
        return self.model.visual.proj.device

    @cached_property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that change with the weights."""
        digest = hashlib.sha256()
        for name, weight in sorted(self.model.state_dict().items()):
            digest.update(name.encode())
            digest.update(weight.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:12]

    def image_tokens(self, images: Images) -> Float[Tensor, "n tokens width"]:
        """Tokens of pictures; token 0 has norm 1.

        Args:
            images: uint8 RGB, one array or a list of pictures of any sizes.

        Raises:
            ValueError: the images are not uint8 RGB, or there are none.
        """
        return self._over(images, self._image_batch, "image tokens")

    def pooled_images(self, images: Images) -> Float[Tensor, "n width"]:
        """L2-normalised global image embeddings: token 0."""
        return self._over(images, lambda batch: self._image_batch(batch)[:, 0].contiguous(), "image embeddings")

    def pooled_pixels(self, pixels: Float[Tensor, "n 3 size size"]) -> Float[Tensor, "n width"]:
        """`pooled_images` for one batch of pixels in [0, 1] that already have the network's size."""
        return self._encode_pixels(pixels)[:, 0].float().cpu()

    def text_tokens(self, captions: Sequence[Sequence[str]]) -> Float[Tensor, "n tokens width"]:
        """Tokens of each image's captions, averaged over the captions.

        Args:
            captions: one list of captions for each image.

        Raises:
            ValueError: an image without captions, bare strings instead of lists, or a caption that is no text or holds
                half a character.
        """
        _check_captions(captions)

        def encode(groups: Sequence[Sequence[str]]) -> Tensor:
            tokens, pooled = self._text_batch([caption for group in groups for caption in group])
            tokens = tokens / pooled.norm(dim=-1)[:, None, None]
            return torch.stack([part.mean(0) for part in tokens.split([len(group) for group in groups])])

        return self._over(captions, encode, "text tokens", sum(map(len, captions)) / max(len(captions), 1))

    def pooled_texts(self, captions: Sequence[str]) -> Float[Tensor, "n width"]:
        """L2-normalised embedding of each caption.

        Raises:
            ValueError: a caption that is no text or holds half a character, or no caption.
        """
        _check_texts(captions)

        def encode(batch: Sequence[str]) -> Tensor:
            return torch.nn.functional.normalize(self._text_batch(list(batch))[1], dim=-1)

        return self._over(captions, encode, "text embeddings")

    def blank_image_tokens(self) -> Float[Tensor, "1 tokens width"]:
        """Tokens of Versatile Diffusion's 'no image' (nearly black), for classifier-free guidance."""
        pixels = torch.full((1, 3, self.image_size, self.image_size), BLANK_PIXEL)
        return self._encode_pixels(pixels).cpu()

    def empty_text_tokens(self) -> Float[Tensor, "1 tokens width"]:
        """Tokens of the empty caption, for classifier-free guidance."""
        return self.text_tokens([[""]])

    def to_pixels(self, images: Images) -> Float[Tensor, "n 3 size size"]:
        """The network's input: shorter side resized (bicubic), centre cropped, normalised, as CLIPImageProcessor.

        Raises:
            ValueError: not uint8 RGB, or an image without pixels.
        """
        _check_images(images)
        cropped = np.stack([fit_square(image, self.image_size) for image in images])
        return (torch.from_numpy(cropped).permute(0, 3, 1, 2).float() / 255 - self._mean) / self._std

    def _image_batch(self, images: Images) -> Tensor:
        return self._encode_normalised(self.to_pixels(images))

    def _encode_pixels(self, pixels: Tensor) -> Tensor:
        return self._encode_normalised((pixels - self._mean) / self._std)

    @torch.no_grad()
    def _encode_normalised(self, pixels: Tensor) -> Tensor:
        visual = self.model.visual
        found = visual.forward_intermediates(
            pixels.to(self.device),
            indices=1,
            normalize_intermediates=True,
            intermediates_only=True,
            output_fmt="NLC",
            output_extra_tokens=True,
        )
        hidden = torch.cat([found["image_intermediates_prefix"][0], found["image_intermediates"][0]], dim=1)
        tokens = hidden @ visual.proj
        return tokens / tokens[:, :1].norm(dim=-1, keepdim=True)

    @torch.no_grad()
    def _text_batch(self, captions: list[str]) -> tuple[Tensor, Tensor]:
        """Projected tokens, and the one among them at the end of text; neither is normalised."""
        if self.model.positional_embedding.device != self.device:
            raise ValueError("this encoder was loaded for images alone. Load it with images_alone=False for captions.")
        model, ids = self.model, self.tokenise(captions).to(self.device)
        hidden = model.token_embedding(ids) + model.positional_embedding
        tokens = model.ln_final(model.transformer(hidden, attn_mask=model.attn_mask)) @ model.text_projection
        # the end of text is the largest id; argmax gives its first position, the later ones are padding
        return tokens, tokens[torch.arange(len(ids)), ids.argmax(-1)]

    def _over(self, items: Images | Sequence, encode: Callable, what: str, weight: float = 1.0) -> Tensor:
        """`encode` over all items, a batch at a time; `weight` is how much one item holds."""
        if len(items) == 0:
            raise ValueError(f"{what}: nothing was handed in; at least one item is needed.")
        size = max(1, int(self.batch_size / weight))
        encoded = []
        with tqdm(total=len(items), desc=what, leave=False, delay=2) as bar:
            for start in range(0, len(items), size):
                encoded.append(encode(items[start : start + size]).float().cpu())
                let_go(items)
                bar.update(len(encoded[-1]))
        return torch.cat(encoded)


def images_tower(name: str, pretrained: str | None, device: str) -> CLIP:
    """A CLIP from open_clip whose text tower has shapes but no storage (the meta device).

    From a safetensors file, only the image tower's weights are read, and used directly as the network's; anything else
    is loaded completely, by open_clip.
    """
    if pretrained is None or not pretrained.endswith(".safetensors"):
        model = open_clip.create_model(name, pretrained=pretrained, device=device, weights_only=True)
        kept, model.visual = model.visual, None
        model.to("meta").visual = kept
        return model
    with torch.device("meta"):
        model = CLIP(**open_clip.get_model_config(name))
    with safe_open(pretrained, "pt", device) as file:
        named = {key.removeprefix("visual."): file.get_tensor(key) for key in file.keys() if key.startswith("visual.")}
    model.visual.load_state_dict({key: weight.float() for key, weight in named.items()}, assign=True)
    return model


class HuggingFaceTokeniser:
    """CLIP's tokenizer as Versatile Diffusion uses it, built from the byte-pair table that open_clip ships.

    It cleans (NFC, white space, lower case) and pads (the end of text, repeated) as Hugging Face does. open_clip's own
    also repairs mis-encoded text and unescapes HTML, and pads with 0.
    """

    def __init__(self, context_length: int) -> None:
        table = SimpleTokenizer()
        vocabulary = {_renamed(piece): position for piece, position in table.encoder.items()}
        merges = sorted(table.bpe_ranks, key=table.bpe_ranks.get)
        self._tokenizer = CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=context_length)
        self.context_length = context_length

    def __call__(self, texts: list[str]) -> Int64[Tensor, "texts context"]:
        _check_texts(texts)
        return self._tokenizer(
            texts, padding="max_length", truncation=True, max_length=self.context_length, return_tensors="pt"
        ).input_ids


def _renamed(piece: str) -> str:
    return {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}.get(piece, piece)


def fit_square(image: UInt8[np.ndarray, "_ _ 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The shorter side resized to `size` (bicubic, antialiased), then the centre square, rounded left and up."""
    height, width = image.shape[:2]
    if min(height, width) != size:
        long = int(size * max(height, width) / min(height, width))
        if long > LONGEST * size:
            return _centre_of_strip(image, size, long)
        shape = (size, long) if height >= width else (long, size)
        image = np.asarray(Image.fromarray(np.ascontiguousarray(image)).resize(shape, Image.Resampling.BICUBIC))
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def _centre_of_strip(image: UInt8[np.ndarray, "_ _ 3"], size: int, long: int) -> UInt8[np.ndarray, "size size 3"]:
    """The same square without resizing the whole strip, which for 1 x 1,000,000 pixels would fill the memory."""
    height, width = image.shape[:2]
    scale, start = max(height, width) / long, (long - size) // 2
    ends = start * scale, (start + size) * scale
    box = (0, ends[0], width, ends[1]) if height >= width else (ends[0], 0, ends[1], height)
    picture = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box))


def _check_images(images: Iterable) -> None:
    for position, image in enumerate(images):
        kind, shape = getattr(image, "dtype", type(image).__name__), tuple(getattr(image, "shape", ()))
        if not isinstance(image, np.ndarray) or kind != np.uint8 or len(shape) != 3 or shape[2] != 3:
            raise ValueError(
                f"pictures must be uint8 (height, width, 3), got {kind} {shape} at {position}; convert them to RGB in "
                "0 to 255 (16 bits: divide by 257)."
            )
        if 0 in shape:
            raise ValueError(f"pictures must have pixels, got {shape} at {position}; leave it out.")


def _check_captions(captions: object) -> None:
    """Check that every image has a list of at least one caption, each valid text; an empty string is allowed.

    Raises:
        ValueError: says at which image.
    """
    if not _is_list(captions):
        raise ValueError(f"captions must be a list with one list for each image, got {_told(captions)}.")
    for position, group in enumerate(captions):
        if not _is_list(group) or len(group) == 0:
            raise ValueError(
                f"captions must be one list of at least one caption for each image, got {_told(group)} at {position}; "
                "put a single caption into a list."
            )
        _check_texts(group, f"image {position}, caption")


def _check_texts(texts: object, what: str = "caption") -> None:
    """Check that texts are strings without half characters, such as an emoji that was cut or wrongly decoded.

    Raises:
        ValueError: says which of them.
    """
    if not _is_list(texts):
        raise ValueError(f"captions must be a list of texts, got {_told(texts)}; put a single caption into a list.")
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(
                f"{what} {position} must be text, got {_told(text)}; leave it out, or put an empty text in its place."
            )
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise ValueError(
                f"{what} {position} holds half a character (an unpaired surrogate), got {_told(text)}; write the whole "
                "character, or leave it out."
            )


def _is_list(value: object) -> bool:
    return isinstance(value, (Sequence, np.ndarray)) and not isinstance(value, (str, bytes))


def _told(value: object) -> str:
    return shortened(repr(value), 120)
