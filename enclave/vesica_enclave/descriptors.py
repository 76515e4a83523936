"""Whether the system lets a room have as many connections as it promises to hold."""

import resource

from vesica.errors import DescriptorsTooFew
from vesica.limits import CONNECTIONS_MAX, DESCRIPTORS_RESERVED


def ensure_descriptors() -> None:
    """Raises this process's limit on open files to what a room needs, where it is lower.

    Raises DescriptorsTooFew where the system does not allow that: better not to start than to fail under load.
    """
    needed = CONNECTIONS_MAX + DESCRIPTORS_RESERVED
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _allows(soft, needed):
        return
    if not _allows(hard, needed):
        raise DescriptorsTooFew(
            f"a room needs {needed} open files, and this process may have {hard}; "
            f"allow it more (a shell's `ulimit -n`, systemd's LimitNOFILE, a container's --ulimit nofile={needed})"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def _allows(limit: int, needed: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= needed
