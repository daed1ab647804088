"""Smaller networks from trained ones: channels removed together, weights pruned, and what it costs and gains."""
