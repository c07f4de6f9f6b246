"""A .tar.gz file with one folder of PNG files for each class, read as it unpacks: nothing is written to disk."""

import gzip
import tarfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from manual_backprop.data.examples import Examples
from manual_backprop.data.png_classes import PngClasses, is_png
from manual_backprop.data.reading import DataError, parsing, printable, unpacked_limit

EXPECTED = "a gzip-compressed tar archive with one folder of PNG files for each class, and no links"


def read_png_archive(path: Path) -> Examples:
    """Read all PNG files of the archive; the folders that hold them must lie side by side and are the classes."""
    classes = PngClasses(path, path.stat().st_size)
    folders: set[PurePosixPath] = set()
    empty: set[PurePosixPath] = set()
    with parsing(path, EXPECTED), LimitedGzip(path) as stream:
        with tarfile.open(fileobj=stream, mode="r|", tarinfo=StrictMember) as archive:
            while (member := archive.next()) is not None:
                archive.members = []  # type: ignore[attr-defined]  # kept, they would take as much memory as the images
                name = PurePosixPath(member.name)
                check_member(path, member, name, stream.limit)
                if any(part.startswith(".") for part in name.parts):
                    continue
                if member.isdir():
                    empty.add(name)
                elif is_png(name.name) and (content := archive.extractfile(member)):
                    folders.add(name.parent)
                    classes.add(name.parent.name, name.name, BytesIO(content.read()))
        while stream.read(2**16):  # up to the end, where gzip compares its checksum
            pass
    parents = {folder.parent for folder in folders}
    if len(parents) > 1 or PurePosixPath() in folders:
        found = ", ".join(sorted(map(str, folders))[:10])
        raise DataError(path, f"PNG files in the folders {found}", "folders side by side, one for each class")
    folders |= {folder for folder in empty if folder.parent in parents and folder.name}
    return classes.examples([folder.name for folder in folders], f"PNG files of archive {printable(path.name)}")


def check_member(path: Path, member: tarfile.TarInfo, name: PurePosixPath, limit: int) -> None:
    """Refuse what no archive of images needs: names that point outside, links, devices, sparse and oversized files."""
    if name.is_absolute() or ".." in name.parts:
        raise DataError(path, f"member {member.name} points outside the archive", EXPECTED)
    if not (member.isdir() or member.isreg()) or member.issparse():
        raise DataError(path, f"member {member.name} is neither a folder nor an ordinary file", EXPECTED)
    if not 0 <= member.size <= limit:
        raise DataError(path, f"member {member.name} claims {member.size:,} bytes", f"at most {limit:,}")


class StrictMember(tarfile.TarInfo):
    """A member whose header must be whole; tarfile takes a broken or missing one for the end of the archive."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "StrictMember":
        """Parse a header block; only the block of zeros that ends an archive passes as an end."""
        try:
            return super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if bytes(buf) == bytes(tarfile.BLOCKSIZE):
                raise
            raise tarfile.ReadError(str(error)) from error


class LimitedGzip(gzip.GzipFile):
    """A gzip file that is refused where it unpacks to more than its size allows."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.path = path
        self.limit = unpacked_limit(path.stat().st_size)

    def read(self, size: int | None = -1) -> bytes:
        """Return the next `size` unpacked bytes, fewer at the end."""
        content = super().read(size)
        if self.tell() > self.limit:
            raise DataError(self.path, f"unpacks to more than {self.limit:,} bytes", "an archive of images")
        return content
