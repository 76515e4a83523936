"""A kernel's configfs-tsm for a test, mounted where the test says."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import fuse
from support.tsm import Tsm

Mount = Callable[[Tsm], Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a fake /sys/kernel/config/tsm/report, until the test ends."""
    why = fuse.why_not()
    if why is not None:
        pytest.skip(f"no FUSE here: {why}")
    with ExitStack() as stack:

        def mounted(tsm: Tsm) -> Path:
            folder = tmp_path / f"report{len(list(tmp_path.iterdir()))}"
            folder.mkdir()
            return stack.enter_context(fuse.mounted(tsm, folder))

        yield mounted
