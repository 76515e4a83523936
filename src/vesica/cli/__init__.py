"""The command line ``vesica``.

One module per group of commands; each imports what a command needs when it runs.
"""
