"""The search for good settings: a study of trials, each a run folder, sampled and pruned by Optuna.

`space` is what is searched; `folder` is the study on the disk; `storage` and `samplers` speak to Optuna; `claims` gives
every trial to one worker at a time; `trials` trains one; `worker` goes from trial to trial; `results` says what came
out.
"""
