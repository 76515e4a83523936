"""The first process of a Vesica VM, before and after the switch to the measured root file system.

Nothing here needs more than Python's standard library, and nothing outside of the image runs it. What comes from the
machine's operator (the launch medium, disks, the clock) is parsed here as hostile.
"""
