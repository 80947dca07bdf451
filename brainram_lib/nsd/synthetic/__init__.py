"""NSD-synthetic: the same subjects in one more session, with images from outside the distribution of natural scenes.

Sources: Gifford et al., Nature Communications 2026 (arXiv 2503.06286), its code (github.com/gifale95/NSD-synthetic) and
NSD's data manual. 284 images, the same for all subjects but the last 64, in 744 trials of one session.
"""
