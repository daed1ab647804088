"""What training and checking cost."""
