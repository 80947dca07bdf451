"""What a reviewer asks of a decoder, one audit per file: arrays in, numbers out."""
