"""Studies and benchmarks: each a small script, its recorded numbers and its picture."""
