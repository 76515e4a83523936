"""What an attester must still be able to do when the process around it has given up everything else.

A room gives up files, sockets and system calls before it serves. Each attester says here what it works with, and
nothing that it does not say is left to it.
"""

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Needs:
    """A closed list; empty by default.

    reads: files, or folders with all that is in them, that are read if they are there when the process gives up the
    rest. devices: opened for reading and writing. ioctls: requests made of them, by number. entries: folders of
    configfs, in which folders are made, their files written and read, and they are removed. sockets: unix sockets that
    are connected to, by path. ports: of TCP, that are connected to, at any IPv4 address.
    """

    reads: frozenset[Path] = frozenset()
    devices: frozenset[Path] = frozenset()
    ioctls: frozenset[int] = frozenset()
    entries: frozenset[Path] = frozenset()
    sockets: frozenset[Path] = frozenset()
    ports: frozenset[int] = frozenset()

    def __or__(self, other: "Needs") -> "Needs":
        """Both together."""
        return Needs(**{field.name: getattr(self, field.name) | getattr(other, field.name) for field in fields(self)})
