"""Two training runs, step by step: the same network, data, weights and masks in both frameworks.

record       the record of both runs, as plain JSON
stream       the batches, the same for both sides
masks        what layers draw, the same for both sides
widening     the optimiser's update in float64, its schedule included
torch_side   PyTorch's training step
flax_side    the Flax step
lockstep     both in float64 and float32, as free runs and each step alone
explain      the cause of a divergence
together     the growth of the distance between the runs
train        from the user's two models to the verdict
"""
