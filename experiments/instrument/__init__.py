"""How often the instrument is right."""
