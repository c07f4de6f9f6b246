"""Small data sources of every kind, with bytes changed at random: `mutated_source`."""

import gzip
import io
import struct
import tarfile
import zipfile
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Files = dict[str, bytes]
"""The content of each file of a source, by its path."""

IMAGES = np.random.RandomState(0).randint(0, 256, (20, 6, 5)).astype(np.uint8)
LABELS = (np.arange(20) % 10).astype(np.uint8)
ODD_NUMBERS = [0, 1, 2, 3, 127, 128, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]
ODD_CHARACTERS = b"0123456789-+.,'()[]{} \0\xff/x|<>"

KINDS = [
    "idx",
    "idx mapped",
    "idx.gz",
    "idx.gz inside",
    "npz stored",
    "npz deflated",
    "npz mapped",
    "npz inside",
    "npz floats inside",
    "png folder",
    "tar.gz",
    "tar.gz inside",
    "tar.gz headers",
]
"""Inside: changed before compression and checksum. Headers: the checksums in the headers are put right afterwards."""

CHECKSUMMED = {"idx.gz", "npz stored", "npz deflated", "tar.gz"}
"""The kinds whose checksum covers all that is read, and stays as it was."""


def mutated_source(kind: str, rng: np.random.Generator) -> Files:
    """Return the files of a source of this kind, one of them mutated."""
    match kind:
        case "idx" | "idx mapped":
            return mutate_one(idx_files(), rng)
        case "idx.gz":
            return mutate_one(compress(idx_files()), rng)
        case "idx.gz inside":
            return compress(mutate_one(idx_files(), rng))
        case "npz stored" | "npz mapped":
            return mutate_one({"a.npz": pack_zip(npy_files(np.uint8), zipfile.ZIP_STORED)}, rng)
        case "npz deflated":
            return mutate_one({"a.npz": pack_zip(npy_files(np.uint8), zipfile.ZIP_DEFLATED)}, rng)
        case "npz inside":
            return {"a.npz": pack_zip(mutate_one(npy_files(np.uint8), rng), zipfile.ZIP_DEFLATED)}
        case "npz floats inside":
            return {"a.npz": pack_zip(mutate_one(npy_files(np.float32), rng), zipfile.ZIP_STORED)}
        case "png folder":
            return mutate_one(png_files(), rng)
        case "tar.gz":
            return mutate_one(compress({"a.tar": pack_tar(png_files())}), rng)
        case "tar.gz inside":
            return compress(mutate_one({"a.tar": pack_tar(png_files())}, rng))
        case "tar.gz headers":
            return compress({"a.tar": repair_headers(mutate(pack_tar(png_files()), rng))})
    raise ValueError(f"no kind {kind} of source")


def mutate_one(files: Files, rng: np.random.Generator) -> Files:
    """Return `files` with one of them mutated."""
    name = list(files)[rng.integers(len(files))]
    return files | {name: mutate(files[name], rng)}


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return `content` with one to four changes, each anywhere or where headers are: at the start or a block of 512."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        block = 512 * int(rng.integers(1 + len(changed) // 512))
        places = [rng.integers(1 + len(changed)), rng.integers(128), block + rng.integers(345)]
        start = min(len(changed), int(rng.choice(places)))
        stop = start + int(rng.choice([1, 2, 4, 8, 12, 64, 512, len(content)]))
        some = bytes(changed[start:stop])
        number = ODD_NUMBERS[rng.integers(len(ODD_NUMBERS))]
        size = int(rng.choice([size for size in (1, 2, 4, 8) if number < 256**size]))
        order: Any = rng.choice(["big", "little"])
        match rng.integers(8):
            case 0 if some:
                changed[start] ^= 1 << int(rng.integers(8))
            case 1 if some:
                changed[start] = rng.choice(list(ODD_CHARACTERS))
            case 2:
                changed[start : start + size] = number.to_bytes(size, order)
            case 3:
                del changed[start:stop]
            case 4:
                changed[start:start] = some
            case 5:
                changed[start:start] = rng.bytes(int(rng.integers(1, 64)))
            case 6:
                changed[start:stop] = bytes(len(some))
            case 7:
                del changed[start:]
    return bytes(changed)


def idx_files() -> Files:
    """Return a pair of IDX files."""
    pair = {"a-images-idx3-ubyte": IMAGES, "a-labels-idx1-ubyte": LABELS}
    return {name: struct.pack(f">4B{v.ndim}I", 0, 0, 8, v.ndim, *v.shape) + v.tobytes() for name, v in pair.items()}


def npy_files(pixels: type[np.number[Any]]) -> Files:
    """Return the members of an .npz file with pixels of this type."""

    def npy(values: NDArray[Any]) -> bytes:
        file = io.BytesIO()
        np.save(file, values)
        return file.getvalue()

    images = IMAGES if pixels == np.uint8 else (IMAGES / 255).astype(pixels)
    return {"images.npy": npy(images), "labels.npy": npy(LABELS)}


def png_files() -> Files:
    """Return PNG files, a folder for each class; one name is too long for a plain tar header."""
    files = {}
    for number, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files[f"{'ABCDEFGHIJ'[label]}/{number:02}{'long' * 30 * (number == 7)}.png"] = file.getvalue()
    return files


def compress(files: Files) -> Files:
    """Return the files compressed by gzip."""
    return {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}


def pack_zip(members: Files, compression: int) -> bytes:
    """Return a zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


def pack_tar(members: Files) -> bytes:
    """Return a tar file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def repair_headers(archive: bytes) -> bytes:
    """Return a tar file with the right checksum in every block that is marked as a header."""
    content = bytearray(archive)
    for start in range(0, len(content) - 511, 512):
        if content[start + 257 : start + 262] == b"ustar":
            content[start + 148 : start + 156] = b" " * 8
            content[start + 148 : start + 156] = b"%06o\0 " % sum(content[start : start + 512])
    return bytes(content)
