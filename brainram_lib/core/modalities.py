"""The two modalities of the method; a stimulus's picture and its captions each have tokens, a prior and a RAM."""

MODALITIES = ("image", "text")
