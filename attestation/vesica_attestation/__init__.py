"""Evidence of where a room runs: produced inside, verified outside. Empty until it can be done for real; see
README.md here.
"""
