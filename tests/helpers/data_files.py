"""Writers of small data files for the tests, independent of the readers."""

import gzip
import io
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


def some_examples(rng: np.random.Generator, count: int = 20, height: int = 5, width: int = 4) -> tuple[Bytes, Bytes]:
    """Random images (N, H, W), no two alike, and their labels (N,), from 0 to 9 in turn."""
    images = rng.integers(0, 256, (count, height, width), dtype=np.uint8)
    images[:, 0, 0] = np.arange(count)
    return images, (np.arange(count) % 10).astype(np.uint8)


def idx_bytes(values: Bytes) -> bytes:
    """The content of an IDX file."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_idx_pair(folder: Path, images: Bytes, labels: Bytes, name: str = "some", ending: str = "") -> Path:
    """Write a pair of IDX files and return the images file."""
    folder.mkdir(parents=True, exist_ok=True)
    for kind, values in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(values)
        (folder / f"{name}-{kind}-ubyte{ending}").write_bytes(gzip.compress(content) if ending else content)
    return folder / f"{name}-images-idx3-ubyte{ending}"


def png_bytes(image: NDArray[Any], mode: str = "L") -> bytes:
    """The content of a PNG file."""
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "PNG")
    return file.getvalue()


def png_files(images: Bytes, labels: Bytes) -> dict[str, bytes]:
    """The content of each file by its path, A/00.png and so on."""
    return {
        f"{'ABCDEFGHIJ'[label]}/{number:02}.png": png_bytes(image)
        for number, (image, label) in enumerate(zip(images, labels, strict=True))
    }


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files into `folder`, sub-folders included, and return it."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def member(name: str, size: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    """The header of an archive's member."""
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info


def tar_bytes(files: dict[str, bytes], *more: tarfile.TarInfo) -> bytes:
    """An uncompressed archive with these files and, after them, members without content."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name, data in files.items():
            archive.addfile(member(name, len(data)), io.BytesIO(data))
        for info in more:
            content.write(info.tobuf())  # Python 3.13's addfile wants the content of a size that is claimed
    return content.getvalue()


def write_tar_gz(path: Path, files: dict[str, bytes], *more: tarfile.TarInfo) -> Path:
    """Write a compressed archive and return its path."""
    path.write_bytes(gzip.compress(tar_bytes(files, *more)))
    return path
