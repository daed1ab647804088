"""From trained weights to a network for other images: what is taken over, what is trained, and how fast."""
