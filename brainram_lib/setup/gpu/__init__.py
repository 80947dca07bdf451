"""All that is to be measured and trained where there is a GPU, in stages that each end in minutes and go on.

One command for the day a card is at hand, also without a network: `python -m brainram_lib gpu`. Each stage leaves a
small JSON in one folder; a table is made of them. With `--small` the same stages run on a CPU in seconds, so that they
work the first time. What is measured there means nothing.
"""
