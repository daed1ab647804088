"""One adapter a framework: run a model and record a Trace, without changing the user's model."""
