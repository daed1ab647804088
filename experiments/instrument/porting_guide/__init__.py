"""The page "How a port goes wrong": every id of the defect catalogue, in words, with the figures of the studies.

The words are in parity/verdict/defects.toml; the figures are those of experiments/results/defects.json and
trajectories.json, where these studies are stored. No figure is written by hand.
"""
