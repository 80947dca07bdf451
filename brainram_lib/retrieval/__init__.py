"""The corpus in clip-retrieval's format, its index, the words of captions, neighbours and their tokens."""
