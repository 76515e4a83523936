"""Small files of the kinds that images consist of, made by the rules of their formats."""

import hashlib
import io
import json
import struct
import tarfile
import uuid

ALIGNMENT = 512


def padded(content, alignment=ALIGNMENT):
    return content + bytes(-len(content) % alignment)


def program(sections, certificates=b"", after=b""):
    """A program for 64-bit UEFI. sections: names and contents. certificates: as a signature would add them."""
    headers_size = len(padded(bytes(64 + 4 + 20 + 240 + 40 * len(sections))))
    body, rows = b"", b""
    for number, (name, content) in enumerate(sections):
        raw = padded(content)
        rows += struct.pack("<8sIIIIIIHHI", name.encode(), len(content), 0x1000 * (number + 1), len(raw),
                            headers_size + len(body), 0, 0, 0, 0, 0x40000040)  # fmt: skip
        body += raw
    body += after
    end = headers_size + len(body)
    optional = bytearray(240)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<QII", optional, 24, 0x400000, 0x1000, ALIGNMENT)
    struct.pack_into("<II", optional, 56, 0x1000 * (len(sections) + 2), headers_size)
    struct.pack_into("<H", optional, 68, 10)
    struct.pack_into("<I", optional, 108, 16)
    if certificates:
        struct.pack_into("<II", optional, 112 + 32, end, len(certificates))
    coff = struct.pack("<HHIIIHH", 0x8664, len(sections), 0, 0, 0, len(optional), 0x22)
    header = b"MZ" + bytes(58) + struct.pack("<I", 64) + b"PE\0\0" + coff + bytes(optional) + rows
    return padded(header) + body + certificates


def kernel(content=b"a kernel"):
    """A kernel as a program."""
    return program([(".text", content), (".data", b"its data")])


def unified(version=257, /, **changes):
    """A unified kernel image; changes: sections without the dot, None to leave one out."""
    sections = {
        "text": b"the stub",
        "sbat": b"sbat,1\n",
        "sdmagic": f"#### LoaderInfo: systemd-stub {version}.13-1~deb13u1 ####".encode(),
        "osrel": b"ID=vesica\n",
        "cmdline": b"console=ttyS0",
        "uname": b"6.12.0",
        "linux": kernel(),
        "initrd": b"an initial file system",
        **changes,
    }
    return program([(f".{name}", content) for name, content in sections.items() if content is not None])


def firmware(*, snp=True, tdx=True, fill=b"\x90"):
    """Firmware of 16 KiB with OVMF's table, and in it what SEV-SNP and TDX look for."""
    size = 0x4000
    image = bytearray(fill * size)[:size]

    def entry(guid, data):
        return data + struct.pack("<H16s", len(data) + 18, uuid.UUID(guid).bytes_le)

    asev = struct.pack("<4sIII", b"ASEV", 16 + 4 * 12, 1, 4)
    asev += struct.pack("<12I", 0x800000, 0x2000, 1, 0x80D000, 0x1000, 2, 0x80E000, 0x1000, 3, 0x810000, 0x1000, 0x10)
    image[0x100 : 0x100 + len(asev)] = asev
    sections = [
        (0x1000, 0x3000, 0xFFFFD000, 0x3000, 0, 1),
        (0, 0x1000, 0xFFFFC000, 0x1000, 1, 0),
        (0, 0, 0x810000, 0x2000, 3, 0),
        (0, 0, 0, 0x80000000, 4, 2),
    ]
    tdvf = struct.pack("<4sIII", b"TDVF", 16 + 32 * len(sections), 1, len(sections))
    tdvf += b"".join(struct.pack("<IIQQII", *section) for section in sections)
    image[0x1800 : 0x1800 + len(tdvf)] = tdvf
    table = entry("00f771de-1a7e-4fcb-890e-68c77e2fb44e", struct.pack("<I", 0xFFFFFFF0))
    if snp:
        table += entry("7255371f-3a3b-4b04-927b-1da6efa8d454", struct.pack("<II", 0x810400, 0x400))
        table += entry("dc886566-984a-4798-a75e-5585a7bf67cc", struct.pack("<I", size - 0x100))
    if tdx:
        table += entry("e47a6535-984a-4798-865e-4685a7bf8ec2", struct.pack("<I", size - 0x1800))
    table += struct.pack("<H16s", len(table) + 18, uuid.UUID("96b582de-1fb2-45f7-baea-a366c55a082d").bytes_le)
    image[size - 32 - len(table) : size - 32] = table
    return bytes(image)


def descriptor(content, media_type):
    return {"mediaType": media_type, "digest": f"sha256:{hashlib.sha256(content).hexdigest()}", "size": len(content)}


def oci_layout(*, layers=(b"a layer",), entrypoint=("vesica",), cmd=("serve",), manifest_layers=None):
    """Files of an image layout by path. manifest_layers: what the manifest says, if not the truth."""
    blobs = {}

    def blob(content, media_type):
        blobs[f"blobs/sha256/{hashlib.sha256(content).hexdigest()}"] = content
        return descriptor(content, f"application/vnd.oci.image.{media_type}")

    contents = [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {"config": {"Entrypoint": entrypoint, "Cmd": cmd}, "rootfs": {"type": "layers", "diff_ids": contents}}
    manifest = {
        "schemaVersion": 2,
        "config": blob(json.dumps(config).encode(), "config.v1+json"),
        "layers": [blob(layer, "layer.v1.tar") for layer in layers] if manifest_layers is None else manifest_layers,
    }
    named = blob(json.dumps(manifest).encode(), "manifest.v1+json")
    index = {"schemaVersion": 2, "manifests": [named]}
    return {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": json.dumps(index).encode(), **blobs}


def tar(files):
    """An archive of files by path."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items() if isinstance(files, dict) else files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
