"""Safetensors files as an attacker, or a failing disk, would leave them."""

import json
from collections.abc import Iterator

import numpy as np

DTYPES = ["BOOL", "U8", "I8", "I16", "U16", "F16", "BF16", "I32", "U32", "F32", "F64", "I64", "U64", "F8_E4M3", "?"]


def mutations(content: bytes, rng: np.random.Generator) -> Iterator[bytes]:
    """Yield variants of a file without end: bytes changed, cut, doubled, and headers that claim something else."""
    kinds = [_change_bytes, _cut, _insert, _claim_header_length, _edit_header]
    while True:
        yield kinds[rng.integers(len(kinds))](content, rng)


def _change_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        changed[rng.integers(len(changed))] = rng.integers(256)
    return bytes(changed)


def _cut(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(len(content))]


def _insert(content: bytes, rng: np.random.Generator) -> bytes:
    place = rng.integers(len(content))
    return content[:place] + rng.bytes(int(rng.integers(1, 100))) + content[place:]


def _claim_header_length(content: bytes, rng: np.random.Generator) -> bytes:
    lengths = [0, 1, 8, len(content), 10**8, 2**31, 2**62, 2**63, 2**64 - 1]
    return lengths[rng.integers(len(lengths))].to_bytes(8, "little") + content[8:]


def _edit_header(content: bytes, rng: np.random.Generator) -> bytes:
    """Change one entry of the header and leave the file well-formed around it."""
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    names = [name for name in header if name != "__metadata__"]
    name, other = (str(rng.choice(names)) for _ in range(2))
    entry = header[name]
    edits = [
        lambda: entry.update(dtype=str(rng.choice(DTYPES))),
        lambda: entry.update(shape=entry["shape"][::-1]),
        lambda: entry.update(shape=[int(np.prod(entry["shape"]))]),
        lambda: entry.update(shape=[2**40, 2**40]),
        lambda: entry.update(shape=[0, 2**62]),
        lambda: entry.update(shape=[-1]),
        lambda: entry.update(data_offsets=header[other]["data_offsets"]),
        lambda: entry.update(data_offsets=[0, 2**50]),
        lambda: entry.update(data_offsets=entry["data_offsets"][::-1]),
        lambda: header.update({name: header[other], other: header[name]}),
        lambda: header.update({"../../outside": header.pop(name)}),
        lambda: header.update({name + "\n": header.pop(name)}),
        lambda: header.pop(name),
        lambda: header.pop("__metadata__"),
        lambda: header["__metadata__"].update(sha256="0" * 64),
        lambda: header["__metadata__"].update(more="[" * 100_000),
        lambda: header.update(__metadata__={"sha256": ["not", "text"]}),
        lambda: header.update({name: []}),
    ]
    edits[rng.integers(len(edits))]()
    edited = json.dumps(header).encode()
    return len(edited).to_bytes(8, "little") + edited + content[8 + length :]
