"""The suites put to the test in turn: defects are planted in our own source, and the suites must turn red.

find      every mutant of a source file, from its syntax tree
changes   what a mutant does to one node of the tree
plant     swap the code of a live function for the mutated one, and back
reach     which lines of our source a case of the suites runs
study     run the cases that reach a mutant until one turns red
known     mutants that no case can catch, each with the reason
"""
