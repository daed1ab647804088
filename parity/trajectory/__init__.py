"""Two training runs, step by step: the same network, data, weights and masks in both frameworks.

record       what a run leaves behind, as plain JSON
stream       the batches, the same for both sides, and the dropout masks
torch_side   PyTorch's training step
flax_side    the Flax step
lockstep     both, in float64 and float32, each step alone and the runs as they go
together     how long and how closely they stay together
train        from the user's two models to the verdict
"""
