"""Gu et al.: convolutions on the cortical mesh give the global embedding of the image.

Gu, Jamison, Kuceyeski & Sabuncu, Decoding natural image stimuli from fMRI data with a surface-based convolutional
network (MIDL 2023, arXiv 2212.02409). A mesh network maps the cortical surface to features of the image, which
condition a generator. AdamW with rate 1e-3 and 100 epochs are published; `peers/settings.py` says what is not at hand.

Deviations of this project:
- CLIP's image embedding replaces SwAV's instance features, and the profile's generator replaces IC-GAN, guided by image
  tokens alone, which are a linear map of the embedding (as in `mind-reader`). The second network, which gives the
  generator's noise vector, has nothing to give here and is left out: noise is drawn.
- The mesh is fsaverage5's active vertices and not a 32k mesh: each has the prepared voxel that NSD's transforms put
  there. Voxels that no vertex has are not seen.
- Of several draws, the one that agrees best with the brain's own estimate is shown.
- Levels, channels and loss are this project's: the paper's text was not at hand, and the released code has no licence.
"""

from __future__ import annotations

from dataclasses import replace

from brainram_lib.core.store import Stage
from brainram_lib.pipeline.peers.mind_reader import Embeddings, EmbeddingTokens, TokenMap
from brainram_lib.pipeline.peers.pictures import PeerImages
from brainram_lib.pipeline.peers.surface import MeshTraining, VertexVoxels
from brainram_lib.pipeline.run import Run
from brainram_lib.systems.system import DECODER, Finds, System, register


def tokens(run: Run) -> EmbeddingTokens:
    """Image tokens of the estimated embedding."""
    profile, embeddings = run.profile, Embeddings(run.targets("image"))
    how = profile.peers.mesh, profile.split.validation, run.seed
    training = MeshTraining(embeddings, VertexVoxels(run.betas), *how)
    return EmbeddingTokens(TokenMap(training, run.corpus, run.encoder, "image", copies=run.copies))


def images(run: Run) -> Stage:
    """Guided by image tokens alone, drawn as often as the profile draws."""
    estimate = tokens(run)
    settings = replace(run.profile.generation, text_mix=0.0, neighbour_share=0.0)
    how = run.generator, run.encoder, settings, run.profile.sampling.samples, run.seed, "generate, gu"
    return PeerImages(estimate, None, None, 1.0, estimate, *how)


register(
    System(
        "gu",
        "Gu et al.",
        "Gu et al., MIDL 2023",
        DECODER,
        78,
        images=images,
        listed=False,
        finds=lambda run: Finds(tokens(run)),
    )
)
