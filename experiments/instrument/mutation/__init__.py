"""Tests the suites themselves: defects are planted in flaxcnn's source, and the suites must turn red.

find      every mutant of a source file, from its syntax tree
changes   the changes that a mutant may make to one node of the tree
plant     replace the code of a live function by the mutated code, and back
reach     the lines of flaxcnn's source that a case of the suites runs
study     run the cases that reach a mutant until one turns red
known     mutants that no case can catch, each with the reason
"""
