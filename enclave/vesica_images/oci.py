"""Container images on disk: the digest by which registries and Confidential Space name one, and what it starts.

``python3 -m vesica_images.oci IMAGE`` prints both as JSON. Every digest is computed from bytes, none is believed.

Sources: OCI Image Format Specification 1.1, "Image Layout", "Image Manifest", "Image Configuration", "Descriptors".
"""

import hashlib
import json
import re
import sys
import tarfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

from vesica_images.files import FileInvalid, json_object

MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_DOCUMENT_BYTES_MAX: Final = 4 * 2**20
_LAYERS_MAX: Final = 128
_MEMBERS_MAX: Final = 1024
_BLOCK_BYTES: Final = 2**20
_VERSION: Final = 2
_DIGEST: Final = re.compile(r"sha256:([0-9a-f]{64})", re.ASCII)


@dataclass(frozen=True)
class ImageDigests:
    """What names an image, and what it starts.

    manifest_digest: what a registry and Confidential Space call it (``name@sha256:…``); it covers the layers as they
    were compressed. image_id: of the configuration; it covers the layers' contents. layers: digests of those.
    compressed_bytes: of all layers. command: entry point and arguments, as they run when nobody overrides them.
    """

    manifest_digest: str
    image_id: str
    layers: tuple[str, ...]
    compressed_bytes: int
    command: tuple[str, ...]


class _Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


class _Layout(Protocol):
    """The files of an image layout, by their path in it."""

    def open(self, name: str) -> AbstractContextManager[_Stream]: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, name: str) -> AbstractContextManager[_Stream]:
        try:
            return (self._root / name).open("rb")
        except OSError as error:
            raise FileInvalid(f"no {name} in the image: {error.strerror}") from None


class _Archive:
    """Read in place: nothing is unpacked."""

    def __init__(self, archive: tarfile.TarFile) -> None:
        self._archive = archive
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in archive:
            name = member.name.removeprefix("./")
            if not member.isfile():
                continue
            if name in self._members or len(self._members) >= _MEMBERS_MAX:
                raise FileInvalid("an archive with the same file twice, or with more files than an image has")
            self._members[name] = member

    def open(self, name: str) -> AbstractContextManager[_Stream]:
        member = self._members.get(name)
        file = None if member is None else self._archive.extractfile(member)
        if file is None:
            raise FileInvalid(f"no {name} in the image")
        return closing(file)


def read_archive(path: Path) -> ImageDigests:
    """The one image of an OCI layout: a folder, or an archive (tar) of one. Raises FileInvalid."""
    if path.is_dir():
        return _image(_Folder(path))
    try:
        with tarfile.open(path, "r:") as archive:
            return _image(_Archive(archive))
    except OSError as error:
        raise FileInvalid(f"cannot read {path}: {error.strerror}") from None
    except tarfile.TarError:
        raise FileInvalid(f"{path}: not an OCI archive") from None


def _image(layout: _Layout) -> ImageDigests:
    index = json_object(_document(layout, "index.json"), "index.json")
    manifests = index.get("manifests")
    if index.get("schemaVersion") != _VERSION or not isinstance(manifests, list) or len(manifests) != 1:
        raise FileInvalid("index.json does not name exactly one image")
    digest, text = _blob(layout, manifests[0], MANIFEST)
    manifest = json_object(text, "the manifest")
    layers = manifest.get("layers")
    if manifest.get("schemaVersion") != _VERSION or not isinstance(layers, list) or not 0 < len(layers) <= _LAYERS_MAX:
        raise FileInvalid("the manifest has no layers, or too many")
    image_id, text = _blob(layout, manifest.get("config"))
    config = json_object(text, "the configuration")
    size = sum(_checked_layer(layout, layer) for layer in layers)
    return ImageDigests(
        f"sha256:{digest}", f"sha256:{image_id}", _contents(config, len(layers)), size, _command(config)
    )


def _contents(config: dict[str, object], count: int) -> tuple[str, ...]:
    """Digests of the layers' contents, one for each layer."""
    root = config.get("rootfs")
    digests = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(digests, list) or len(digests) != count or not all(map(_is_digest, digests)):
        raise FileInvalid("the configuration does not name the content of each layer")
    return tuple(digests)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _command(config: dict[str, object]) -> tuple[str, ...]:
    """What starts: Entrypoint, then Cmd."""
    inner = config.get("config")
    parts = [inner.get(name) or [] for name in ("Entrypoint", "Cmd")] if isinstance(inner, dict) else []
    if not all(isinstance(part, list) and all(isinstance(word, str) for word in part) for part in parts):
        raise FileInvalid("the configuration's entry point is no list of texts")
    command = tuple(word for part in parts for word in part)
    if not command:
        raise FileInvalid("an image that starts nothing: no entry point in its configuration")
    return command


def _descriptor(value: object, media_type: str | None) -> tuple[str, int]:
    """Digest and size that a descriptor names."""
    if not isinstance(value, dict):
        raise FileInvalid("a descriptor that is no object")
    digest, size = _DIGEST.fullmatch(str(value.get("digest"))), value.get("size")
    if digest is None or isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise FileInvalid("a descriptor without a SHA-256 digest or a size")
    if media_type is not None and value.get("mediaType") != media_type:
        raise FileInvalid(f"not an image for one platform: expected {media_type}")
    return digest[1], size


def _blob(layout: _Layout, value: object, media_type: str | None = None) -> tuple[str, bytes]:
    digest, size = _descriptor(value, media_type)
    content = _document(layout, f"blobs/sha256/{digest}")
    if len(content) != size or hashlib.sha256(content).hexdigest() != digest:
        raise FileInvalid(f"blob {digest} has other bytes than its name says")
    return digest, content


def _checked_layer(layout: _Layout, value: object) -> int:
    digest, size = _descriptor(value, None)
    hashed, seen = hashlib.sha256(), 0
    with layout.open(f"blobs/sha256/{digest}") as stream:
        while block := stream.read(_BLOCK_BYTES):
            hashed.update(block)
            seen += len(block)
    if seen != size or hashed.hexdigest() != digest:
        raise FileInvalid(f"layer {digest} has other bytes than its name says")
    return size


def _document(layout: _Layout, name: str) -> bytes:
    with layout.open(name) as stream:
        content = stream.read(_DOCUMENT_BYTES_MAX + 1)
    if len(content) > _DOCUMENT_BYTES_MAX:
        raise FileInvalid(f"{name}: larger than {_DOCUMENT_BYTES_MAX} bytes")
    return content


def main(argv: Sequence[str]) -> int:
    """The command."""
    if len(argv) != 1:
        sys.stderr.write("usage: python3 -m vesica_images.oci IMAGE   (an OCI archive or layout)\n")
        return 2
    try:
        digests = read_archive(Path(argv[0]))
    except FileInvalid as error:
        sys.stderr.write(f"vesica_images.oci: {error}\n")
        return 1
    sys.stdout.write(json.dumps(asdict(digests), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
