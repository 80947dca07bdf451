"""What a reviewer asks of a decoder, one audit a file: arrays in, numbers out."""
