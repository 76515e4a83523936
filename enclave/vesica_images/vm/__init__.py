"""The image of a confidential VM: one program for the firmware, and a disk that it checks."""
