"""Which convention explains a divergence: identified in float64, never guessed."""
