"""The command line, a file for each group of commands; `brainram_lib.__main__` puts them together."""
