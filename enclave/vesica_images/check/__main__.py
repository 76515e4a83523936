"""``python3 -m vesica_images.check``: all steps, or those whose names begin with a word that is given."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from vesica_images.check import oci, tools, vm
from vesica_images.check.runner import Step, run
from vesica_images.check.site import REPOSITORY, CheckFailed, Site
from vesica_images.content import RECORD, Record, content_digest, differences, read_record, write_record

STEPS = (Step("tools", tools.install), *(Step(name, do) for name, do in (*oci.STEPS, *vm.STEPS)))


def results(site: Site) -> dict[str, str]:
    """What anybody can compare who has built the same."""
    image = json.loads((site.oci / "image.json").read_text())
    return {
        "oci_manifest": image["manifest_digest"],
        "oci_image_id": image["image_id"],
        "root_file_system": (site.oci / "rootfs.sha256").read_text().strip(),
        **vm.results(site),
    }


def as_recorded(site: Site) -> str:
    """The same content gave, elsewhere and another day, what it gave here."""
    record, content = read_record(REPOSITORY / RECORD), content_digest()
    found = differences(record, content, results(site))
    if found:
        raise CheckFailed(f"the same content gave something else when {RECORD} was written:\n" + "\n".join(found))
    same = record is not None and record.content == content
    return f"the same results as in {RECORD}" if same else "another content: nothing to compare with"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="vesica_images.check",
        description="Builds the images twice, runs them hardened, takes two parties through, and tries what must fail.",
    )
    parser.add_argument(
        "only", nargs="*", help="steps whose name begins like this; default: all, and the record is written"
    )
    parser.add_argument("--work", type=Path, default=REPOSITORY / "build/enclave-test", help="where things are built")
    parser.add_argument("--list", action="store_true", help="names of the steps")
    chosen = parser.parse_args(arguments)
    steps = (*STEPS, Step("as recorded", as_recorded))
    if chosen.list:
        sys.stdout.write("".join(f"{step.name}\n" for step in steps))
        return 0
    if os.geteuid() != 0:
        sys.stderr.write("this needs root: it makes file systems, network namespaces and containers\n")
        return 2
    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    cache = Path(os.environ.get("VESICA_CACHE") or Path.home() / ".cache/vesica")
    site = Site(work / "oci/rootfs", work, cache, work / "log")
    wanted = [step for step in steps if not chosen.only or step.name.startswith(tuple(chosen.only))]
    if not wanted:
        sys.stderr.write("no step has such a name; --list names them\n")
        return 2
    # Told to stop, it cleans up behind itself as it does when a step fails: rooms, networks and machines end.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if not run(wanted, site):
        return 1
    if not chosen.only:
        write_record(REPOSITORY / RECORD, Record(content_digest(), results(site)))
        sys.stdout.write(f"written: {RECORD}, to be committed\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
