"""The paper profile rehearsed without NSD and without published weights: files of the true sizes, random contents.

Everything that a run on the real data opens is written in its real format, at its real place and size: an NSD subject,
CLIP's weights in the hub's cache, Versatile Diffusion in the hub's layout, the metrics' networks, a corpus in
clip-retrieval's format. Then notebooks 01 to 05 run with the paper's profile, with fewer sessions, images, epochs and
sampling steps. What is measured is whether it runs, how long and in how much memory. No score of it means anything.
"""
