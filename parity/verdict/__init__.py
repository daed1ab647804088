"""What a comparison leaves behind, and what is judged from it: the only thresholds."""
