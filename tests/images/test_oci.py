"""Digests of container images, recomputed from bytes."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.image_files import descriptor, oci_layout, tar
from vesica_images import oci
from vesica_images.files import FileInvalid


@pytest.fixture
def read(tmp_path):
    def read_files(files):
        (tmp_path / "image.tar").write_bytes(tar(files))
        return oci.read_archive(tmp_path / "image.tar")

    return read_files


def replaced(files, name, content):
    return {path: content if path == name else old for path, old in files.items()}


def indexed(files, **changes):
    """The same files with another index.json."""
    return replaced(files, "index.json", json.dumps({**json.loads(files["index.json"]), **changes}).encode())


def test_an_image_is_named_by_the_hash_of_its_manifest(read):
    files = oci_layout(layers=(b"one", b"three"))
    image = read(files)
    name = json.loads(files["index.json"])["manifests"][0]["digest"]
    assert image.manifest_digest == name
    assert hashlib.sha256(files[f"blobs/sha256/{name[7:]}"]).hexdigest() == name[7:]
    assert image.compressed_bytes == len(b"one") + len(b"three")
    assert image.command == ("vesica", "serve")
    assert len(image.layers) == 2


def test_a_folder_and_an_archive_are_the_same_image(read, tmp_path):
    files = oci_layout()
    for name, content in files.items():
        (tmp_path / "layout" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "layout" / name).write_bytes(content)
    assert oci.read_archive(tmp_path / "layout") == read(files)


def test_names_in_an_archive_may_begin_with_a_dot(read):
    files = oci_layout()
    assert read({f"./{name}": content for name, content in files.items()}) == read(files)


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_flipping_any_bit_of_a_blob_is_noticed(data, tmp_path_factory):
    files = oci_layout(layers=(b"layer one", b"layer two"))
    name = data.draw(st.sampled_from(sorted(path for path in files if path.startswith("blobs"))))
    content = bytearray(files[name])
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.getbasetemp() / "flipped.tar"
    path.write_bytes(tar(replaced(files, name, bytes(content))))
    with pytest.raises(FileInvalid, match="other bytes"):
        oci.read_archive(path)


def test_an_index_of_two_images_is_refused(read):
    files = oci_layout()
    one = json.loads(files["index.json"])["manifests"][0]
    with pytest.raises(FileInvalid, match="exactly one"):
        read(indexed(files, manifests=[one, one]))


def test_an_index_of_platforms_is_refused(read):
    files = oci_layout()
    inner = files["index.json"]
    media = "application/vnd.oci.image.index.v1+json"
    files = {**files, f"blobs/sha256/{hashlib.sha256(inner).hexdigest()}": inner}
    with pytest.raises(FileInvalid, match="one platform"):
        read(indexed(files, manifests=[descriptor(inner, media)]))


def test_a_missing_layer_is_named(read):
    files = oci_layout(layers=(b"gone",))
    del files[f"blobs/sha256/{hashlib.sha256(b'gone').hexdigest()}"]
    with pytest.raises(FileInvalid, match="no blobs/sha256"):
        read(files)


def test_the_same_file_twice_in_an_archive_is_refused(read):
    files = list(oci_layout().items())
    with pytest.raises(FileInvalid, match="twice"):
        read([*files, files[0]])


def test_a_name_twice_in_json_is_refused(read):
    files = oci_layout()
    with pytest.raises(FileInvalid, match="twice"):
        read(replaced(files, "index.json", files["index.json"].replace(b"{", b'{"manifests":[],', 1)))


@pytest.mark.parametrize("entrypoint", ["vesica", [7], {}])
def test_an_entry_point_that_is_no_list_of_texts_is_refused(read, entrypoint):
    with pytest.raises(FileInvalid):
        read(oci_layout(entrypoint=entrypoint, cmd=None))


def test_an_image_that_starts_nothing_is_refused(read):
    with pytest.raises(FileInvalid, match="starts nothing"):
        read(oci_layout(entrypoint=None, cmd=[]))


@pytest.mark.parametrize("described", [[], "x", [7], [{"digest": "md5:00", "size": 1}], [{}], [{"size": True}]])
def test_a_manifest_without_proper_layers_is_refused(read, described):
    with pytest.raises(FileInvalid):
        read(oci_layout(manifest_layers=described))


@given(junk=st.binary(max_size=2000))
def test_junk_is_refused(tmp_path_factory, junk):
    path = tmp_path_factory.getbasetemp() / "junk.tar"
    path.write_bytes(junk)
    with pytest.raises(FileInvalid):
        oci.read_archive(path)


def test_the_command_prints_the_digests_as_json(tmp_path, capsys):
    (tmp_path / "image.tar").write_bytes(tar(oci_layout()))
    assert oci.main([str(tmp_path / "image.tar")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["manifest_digest"] == oci.read_archive(tmp_path / "image.tar").manifest_digest
    assert oci.main([]) == 2
    assert oci.main([str(tmp_path / "missing")]) == 1
