"""Evidence of where a room runs: produced inside, verified outside. README.md beside this file is the map."""
