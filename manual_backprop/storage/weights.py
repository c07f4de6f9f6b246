"""Named arrays in a safetensors file, which both sides read and which can execute nothing.

A checksum travels in the file's metadata, so that a changed byte is noticed even where the format has no check.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from manual_backprop.arrays import Array
from manual_backprop.storage.files import replacing


def save_weights(
    path: Path, parameters: Mapping[str, Array], is_linear: Callable[[str], bool], metadata: str = ""
) -> None:
    """Write parameters in PyTorch's orientation: those that `is_linear` names are (in, out) here, (out, in) there.

    `metadata` is a text that goes with them.

    Raises
    ------
    OSError
        If the file cannot be written; an earlier one is kept.
    """
    save_arrays(path, {name: value.T if is_linear(name) else value for name, value in parameters.items()}, metadata)


def load_weights(path: Path, is_linear: Callable[[str], bool]) -> tuple[dict[str, Array], str]:
    """Read what `save_weights` wrote, each in the orientation that it had, and the text that went with them.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is damaged, or holds anything but finite numbers, all of them float32 or all of them float64.
    """
    arrays, metadata = load_arrays(path)
    for name, value in arrays.items():
        if value.dtype not in (np.float32, np.float64) or not np.isfinite(value).all():
            raise ValueError(f"{path}: {name} holds {value.dtype} numbers, or numbers that are not finite")
    if len({value.dtype for value in arrays.values()}) > 1:
        raise ValueError(f"{path}: mixes float32 and float64; expected one of them")
    weights = {name: np.asarray(value.T if is_linear(name) else value, order="C") for name, value in arrays.items()}
    return weights, metadata


def save_arrays(path: Path, arrays: Mapping[str, Array], metadata: str = "") -> None:
    """Write named arrays, and a text that goes with them, to a file that replaces an earlier one whole.

    Raises
    ------
    OSError
        If the file cannot be written; an earlier one is kept.
    """
    contiguous = {name: np.asarray(value, order="C") for name, value in arrays.items()}
    # one entry: several are written in an order that changes from run to run
    content = save(contiguous, {"sha256": f"{_checksum(contiguous, metadata)} {metadata}"})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_arrays(path: Path) -> tuple[dict[str, Array], str]:
    """Read what `save_arrays` wrote.

    Returns
    -------
    arrays : dict of arrays
    metadata : str

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it is not a safetensors file, or not as it was written.
    """
    path.stat()  # a missing file is an OSError that names it
    if not path.is_file():  # opening a pipe would wait for ever
        raise ValueError(f"{path}: not a file")
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata = file.metadata() or {}
    except (SafetensorError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: not a safetensors file ({' '.join(str(error).split())})") from error
    checksum, _, text = metadata.get("sha256", "").partition(" ")
    if checksum != _checksum(arrays, text):
        raise ValueError(
            f"{path}: its content does not match its checksum; it was damaged or not written by this project"
        )
    return arrays, text


def _checksum(arrays: Mapping[str, Array], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        value = arrays[name]
        digest.update(json.dumps([name, value.dtype.str, value.shape]).encode())
        digest.update(value.tobytes())
    return digest.hexdigest()
