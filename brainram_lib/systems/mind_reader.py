"""Mind Reader (Lin et al.): two convolutional networks give the global embeddings of image and captions.

Lin, Sprague & Singh, Mind Reader: reconstructing complex images from brain activities (NeurIPS 2022, arXiv 2210.01769).
One network per modality maps betas to CLIP's embedding with squared, cosine and contrastive losses; the embeddings
condition a generator. Adam with rate 2e-4 and 40 epochs are published; `peers/settings.py` says what is not at hand.

Deviations of this project:
- The profile's generator replaces a StyleGAN2 (after LAFITE) that the authors fine-tuned on COCO. It needs tokens, so
  these are a linear map of the embedding, fitted on the first 4,000 items of the corpus, with the regularisation that
  suits the estimates of validation images: what an embedding does not say about its tokens cannot be decoded here.
- CLIP is the profile's (published: ViT-B/32, 512 numbers), and the caption embedding is the mean over an image's
  captions.
- Depth, kernel and the weights of the losses are this project's: the paper's text was not at hand and the released code
  has no licence. On `mini` fewer epochs.
- One image per stimulus, guided by both with the profile's mix, from noise.
"""

from __future__ import annotations

from dataclasses import replace

from brainram_lib.core.modalities import MODALITIES
from brainram_lib.core.store import Stage
from brainram_lib.pipeline.peers.mind_reader import Embeddings, EmbeddingTokens, MindReaderTraining, TokenMap
from brainram_lib.pipeline.peers.pictures import PeerImages
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, System, Tokens, register


def tokens(run: Run) -> Tokens:
    """From the embeddings of both modalities."""
    return {modality: _tokens(run, modality) for modality in MODALITIES}


def _tokens(run: Run, modality: str) -> EmbeddingTokens:
    profile = run.profile
    how = profile.peers.mind_reader, profile.split.validation, run.seed
    training = MindReaderTraining(Embeddings(run.targets(modality)), *how)
    return EmbeddingTokens(TokenMap(training, run.corpus, run.encoder, modality, copies=run.copies))


def images(run: Run) -> Stage:
    """Guided by both, from noise."""
    guiding = tokens(run)
    settings = replace(run.profile.generation, neighbour_share=0.0)
    how = run.generator, run.encoder, settings, 1, run.seed, "generate, mind-reader"
    return PeerImages(guiding["image"], guiding["text"], None, 1.0, None, *how)


register(
    System(
        "mind-reader",
        "Mind Reader",
        "Lin et al., NeurIPS 2022",
        DECODER,
        79,
        tokens,
        images,
        listed=False,
    )
)
