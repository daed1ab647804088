"""Looking for a difference where the run itself cannot show one: each file is one way, and gives `Probe`s."""
