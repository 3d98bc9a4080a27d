"""Checkpoints: any tree of arrays in one safetensors file, by readable path names. Never pickle.

The file is a plain safetensors file that any reader of that format opens. Its metadata holds one JSON text
under "fathom" (the format version, the caller's meta, a CRC-32 and the kind of each array) and, as its first
entry, a CRC-32 of the header itself: every byte of the file is under one of the two checksums. That first
entry and its place stay the same in all format versions, so that a newer file is told from a damaged one.
"""

import contextlib
import errno
import json
import os
import shutil
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

from fathom.core.errors import FathomError

T = TypeVar("T")

FORMAT = 1

_DTYPES: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype(np.uint16),
    "I16": np.dtype(np.int16),
    "U32": np.dtype(np.uint32),
    "I32": np.dtype(np.int32),
    "U64": np.dtype(np.uint64),
    "I64": np.dtype(np.int64),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "C64": np.dtype(np.complex64),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
_CODES = {dtype: code for code, dtype in _DTYPES.items()}

_HEAD = b'{"__metadata__":{"header_crc32":"'
_CRC_AT = slice(len(_HEAD), len(_HEAD) + 8)
_MAX_HEADER = 100_000_000  # the limit that safetensors itself sets
_HOST = "host:"  # prefix of host arrays; a tree's own names never hold a bare colon
_ARRAY = "$array"  # how the JSON of host data points to an array


class CheckpointDamaged(FathomError):
    """The bytes of a checkpoint are not those that were written: cut short, overwritten or flipped."""


@dataclass(frozen=True)
class _Entry:
    """One array on its way into the file."""

    name: str
    value: Any  # anything that np.asarray takes; converted one at a time, as it is written
    dtype: np.dtype
    shape: tuple[int, ...]
    note: dict[str, Any]  # kind and, for keys, the generator

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


@dataclass(frozen=True)
class _Header:
    format: int
    meta: dict[str, Any]
    host: Any
    arrays: dict[str, dict[str, Any]]  # name -> crc32, kind, impl
    tensors: dict[str, dict[str, Any]]  # name -> dtype, shape, data_offsets
    data_at: int


def write(path: str | Path, tree: Any, meta: dict[str, Any], host: dict[str, Any] | None = None) -> None:
    """Write a tree of arrays with its `meta`, so that `path` holds either the old file or the whole new one.

    Leaves may be JAX or NumPy arrays of any shape (also empty), typed PRNG keys, and Python numbers. `meta`
    is JSON; `host` is JSON that may hold NumPy arrays, as replay memory or the state of a simulator, and
    comes back from `read` as `meta["host"]`. Arrays go to the file one by one without a copy on CPU.

    Raises FathomError for a leaf that is no array, for `meta` that is no JSON, and when the disk is full or
    not writable: then what stood at `path` before is intact.
    """
    path = Path(path)
    entries = [_entry(name, leaf) for name, leaf in named_leaves(tree)]
    host_json = _strip_arrays(host, _HOST, entries) if host is not None else None
    text = _dump({"meta": meta, "host": host_json}, f"the meta of checkpoint {path}")
    entries.sort(key=lambda e: (-e.dtype.itemsize, e.name))
    total = sum(e.size for e in entries)
    try:
        with replacing(path) as file:
            _write_entries(file, entries, text)
    except OSError as error:
        raise_disk_error(error, path, total, "All checkpoints written before are intact.")


def read(path: str | Path, like: T) -> tuple[T, dict[str, Any]]:
    """The tree at `path`, in the structure of `like`, and its meta.

    `like` holds arrays or `jax.ShapeDtypeStruct`s (as `jax.eval_shape` gives) and must match in names,
    shapes and dtypes. Leaves come back as what `like` has: NumPy arrays, Python numbers, else JAX arrays.

    Raises CheckpointDamaged for a file that is cut short or has a changed bit, and FathomError for a missing
    file, one of a newer format, and for the first difference between the file and `like`.
    """
    path = Path(path)
    expected = named_leaves(like)
    with _opened(path) as file:
        header = _read_header(file, path)
        _compare(path, header, expected)
        leaves = [
            _restore(_read_array(file, path, header, name), leaf, header, name) for name, leaf in expected
        ]
        meta = dict(header.meta)
        if header.host is not None:
            meta["host"] = _put_arrays(header.host, lambda name: _read_array(file, path, header, name))
    return jax.tree.unflatten(jax.tree.structure(like), leaves), meta


def read_meta(path: str | Path) -> dict[str, Any]:
    """The meta alone, without reading the arrays (and without host data)."""
    path = Path(path)
    with _opened(path) as file:
        return dict(_read_header(file, path).meta)


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """All arrays of a checkpoint by path name, as NumPy arrays; keys as their uint32 data."""
    path = Path(path)
    with _opened(path) as file:
        header = _read_header(file, path)
        return {name: _read_array(file, path, header, name) for name in sorted(header.arrays)}


def verify(path: str | Path) -> None:
    """Check every byte of a checkpoint against its checksums; raises as `read` does."""
    path = Path(path)
    with _opened(path) as file:
        header = _read_header(file, path)
        for name in header.arrays:
            _read_array(file, path, header, name)


def named_leaves(tree: Any) -> list[tuple[str, Any]]:
    """The leaves of a tree with their path names, as "params.actor.layers.0.weight", in flattening order.

    Characters of a dictionary key that would make two paths look alike are written as %XX.
    """
    named = [(_path_name(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]]
    seen: set[str] = set()
    for name, _ in named:
        if name in seen:
            raise FathomError(f"two leaves of the tree have the path {name!r}; give the keys distinct names.")
        seen.add(name)
    return named


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` at once when the block ends, and never otherwise.

    The bytes reach the disk before the name does, so that a crash leaves the old file or the new one.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system has such a call."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems know no fsync of a folder; the replacement itself is still atomic.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def raise_disk_error(error: OSError, path: Path, needed: int, intact: str) -> NoReturn:
    """Raise a FathomError that says why `path` could not be written, and what is intact."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        with contextlib.suppress(OSError):
            free = shutil.disk_usage(path.parent).free
            raise FathomError(
                f"the disk is full: {path} needs {_megabytes(needed)}, {_megabytes(free)} are free "
                f"({error.strerror}). {intact} Free some space or choose another --out, then resume the run."
            ) from error
    raise FathomError(
        f"cannot write {path}: {error.strerror or error}. {intact} Check that the folder exists and may be "
        "written, then resume the run."
    ) from error


def _write_entries(file: BinaryIO, entries: list[_Entry], text: str) -> None:
    # The checksums are known only after the data went by: the header is written twice, at one length.
    header = _header_bytes(entries, text, ["0" * 8] * len(entries))
    file.write(len(header).to_bytes(8, "little"))
    file.write(header)
    crcs = []
    for entry in entries:
        raw = _raw_bytes(entry)
        file.write(raw)
        crcs.append(f"{zlib.crc32(raw):08x}")
    file.seek(8)
    file.write(_header_bytes(entries, text, crcs))


def _header_bytes(entries: list[_Entry], text: str, crcs: list[str]) -> bytes:
    arrays = {e.name: {"crc32": crc, **e.note} for e, crc in zip(entries, crcs, strict=True)}
    fathom = json.dumps({"format": FORMAT, **json.loads(text), "arrays": arrays})
    header: dict[str, Any] = {"__metadata__": {"header_crc32": "0" * 8, "fathom": fathom}}
    at = 0
    for entry in entries:
        header[entry.name] = {
            "dtype": _CODES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [at, at + entry.size],
        }
        at += entry.size
    raw = bytearray(json.dumps(header, separators=(",", ":")).encode())
    raw += b" " * (-len(raw) % 8)
    raw[_CRC_AT] = f"{zlib.crc32(raw):08x}".encode()
    return bytes(raw)


def _entry(name: str, leaf: Any) -> _Entry:
    if isinstance(leaf, bool | int | float):
        dtype = np.dtype({bool: np.bool_, int: np.int64, float: np.float64}[_python_type(leaf)])
        if isinstance(leaf, int) and not -(2**63) <= leaf < 2**63:
            raise FathomError(
                f"checkpoint: the integer {name} = {leaf} has more than 64 bits; keep it in meta."
            )
        return _Entry(name, leaf, dtype, (), {"kind": "number"})
    if _is_key(leaf):
        data = jax.random.key_data(leaf)
        note = {"kind": "key", "impl": str(jax.random.key_impl(leaf))}
        return _Entry(name, data, np.dtype(data.dtype), tuple(data.shape), note)
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise FathomError(
            f"checkpoint: the leaf {name} is a {type(leaf).__name__}, not an array. Keep it in a static "
            "field of its module, or in the meta."
        )
    dtype = np.dtype(leaf.dtype).newbyteorder("=")
    if dtype not in _CODES:
        raise FathomError(f"checkpoint: {name} has the dtype {leaf.dtype}, which safetensors does not have.")
    return _Entry(name, leaf, dtype, tuple(leaf.shape), {"kind": "array"})


def _raw_bytes(entry: _Entry) -> memoryview:
    array = np.asarray(entry.value)
    little = np.ascontiguousarray(array, entry.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8).data


def _python_type(leaf: Any) -> type:
    return bool if isinstance(leaf, bool) else int if isinstance(leaf, int) else float


def _is_key(leaf: Any) -> bool:
    return hasattr(leaf, "dtype") and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _path_name(path: tuple[Any, ...]) -> str:
    return ".".join(_path_part(entry) for entry in path) or "value"


def _path_part(entry: Any) -> str:
    match entry:
        case jax.tree_util.GetAttrKey(name=name):
            return name
        case jax.tree_util.SequenceKey(idx=index):
            return str(index)
        case jax.tree_util.DictKey(key=key) | jax.tree_util.FlattenedIndexKey(key=key):
            text = str(key).replace("%", "%25").replace(".", "%2E").replace(":", "%3A")
            return text.replace("__metadata__", "%5F_metadata__") or "%"
    return str(entry)


def _strip_arrays(value: Any, name: str, entries: list[_Entry]) -> Any:
    """`value` as JSON, with its arrays moved to `entries` and a pointer in their place."""
    match value:
        case dict():
            for key in value:
                if not isinstance(key, str) or key == _ARRAY:
                    raise FathomError(f"checkpoint: host data has the key {key!r}; use other, textual keys.")
            return {k: _strip_arrays(v, f"{name}{_path_part(_key(k))}.", entries) for k, v in value.items()}
        case list() | tuple():
            return [_strip_arrays(v, f"{name}{i}.", entries) for i, v in enumerate(value)]
        case np.generic() if value.dtype in _CODES and value.dtype.kind in "biuf":
            return value.item()
        case np.ndarray():
            entry = _entry(name.removesuffix("."), value)
            entries.append(entry)
            return {_ARRAY: entry.name}
    return value


def _key(text: str) -> Any:
    return jax.tree_util.DictKey(text)


def _put_arrays(value: Any, array: Callable[[str], np.ndarray]) -> Any:
    match value:
        case {"$array": name}:
            return array(name)
        case dict():
            return {k: _put_arrays(v, array) for k, v in value.items()}
        case list():
            return [_put_arrays(v, array) for v in value]
    return value


def _dump(value: Any, what: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        raise FathomError(
            f"{what} is not JSON ({error}). Put arrays into the tree or the host data, and only numbers, "
            "texts, lists and dictionaries into the meta."
        ) from error


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError:
        raise FathomError(f"there is no checkpoint {path}. {_beside(path)}") from None
    except OSError as error:
        raise FathomError(f"cannot read the checkpoint {path}: {error.strerror or error}.") from error


def _beside(path: Path) -> str:
    others = sorted(p.name for p in path.parent.glob("*.safetensors")) if path.parent.is_dir() else []
    return f"In its folder: {', '.join(others)}." if others else f"{path.parent} holds no checkpoints."


def _damaged(path: Path, how: str) -> CheckpointDamaged:
    return CheckpointDamaged(
        f"the checkpoint {path} is damaged: {how}. Use an earlier one of the same run (opening the run "
        "folder does so by itself), or a copy of the file."
    )


def _read_header(file: BinaryIO, path: Path) -> _Header:
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MAX_HEADER):
        raise _damaged(path, f"it ends after {size} bytes, within or before its header")
    raw = bytearray(file.read(length))
    if raw[: len(_HEAD)] != _HEAD:
        with contextlib.suppress(ValueError):
            if isinstance(json.loads(raw), dict):
                raise FathomError(
                    f"{path} is a safetensors file, but not a checkpoint of Fathom's, or its first bytes are "
                    "damaged. Give a file from the checkpoints/ folder of a run."
                )
        raise _damaged(path, "its first bytes are not those of a checkpoint")
    told = bytes(raw[_CRC_AT])
    raw[_CRC_AT] = b"0" * 8
    if told != f"{zlib.crc32(raw):08x}".encode():
        raise _damaged(path, "its header does not agree with the header's checksum")
    tensors = json.loads(raw)
    fathom = json.loads(tensors.pop("__metadata__")["fathom"])
    if fathom["format"] > FORMAT:
        raise FathomError(
            f"the checkpoint {path} has format version {fathom['format']}; this Fathom reads up to {FORMAT}. "
            "Install the newer Fathom that wrote it (run.json beside it says which)."
        )
    ends = max((t["data_offsets"][1] for t in tensors.values()), default=0)
    if size != 8 + length + ends:
        raise _damaged(path, f"it has {size} bytes instead of {8 + length + ends}")
    return _Header(fathom["format"], fathom["meta"], fathom["host"], fathom["arrays"], tensors, 8 + length)


def _read_array(file: BinaryIO, path: Path, header: _Header, name: str) -> np.ndarray:
    tensor = header.tensors[name]
    start, end = tensor["data_offsets"]
    file.seek(header.data_at + start)
    raw = np.fromfile(file, np.uint8, end - start)
    if raw.size != end - start:
        raise _damaged(path, f"it ends within the array {name}")
    if f"{zlib.crc32(raw.data):08x}" != header.arrays[name]["crc32"]:
        raise _damaged(path, f"the bytes of the array {name} do not agree with their checksum")
    dtype = _DTYPES[tensor["dtype"]]
    return raw.view(dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(tensor["shape"])


def _restore(array: np.ndarray, like: Any, header: _Header, name: str) -> Any:
    if isinstance(like, bool | int | float):
        return _python_type(like)(array.item())
    if _is_key(like):
        return jax.random.wrap_key_data(jnp.array(array), impl=header.arrays[name]["impl"])
    if isinstance(like, np.generic):
        return array[()]
    # A copy, so that no buffer of ours is shared with one that the training loop donates.
    return array if isinstance(like, np.ndarray) else jnp.array(array)


def _compare(path: Path, header: _Header, expected: list[tuple[str, Any]]) -> None:
    """Raise a FathomError for the first difference between a file and the tree to be read from it."""
    held = {name for name in header.arrays if not name.startswith(_HOST)}
    names = [name for name, _ in expected]
    for name, leaf in expected:
        if name not in held:
            raise FathomError(
                f"the checkpoint {path} does not hold {name}, which this program expects. {_LIKELY_NAMES}"
            )
        note, tensor = header.arrays[name], header.tensors[name]
        has = (_DTYPES[tensor["dtype"]].name, tuple(tensor["shape"]))
        wants = _expected_form(leaf, note)
        if has != wants:
            raise FathomError(
                f"the checkpoint {path} holds {name} as {_form(*has)}, this program expects {_form(*wants)}. "
                f"{_LIKELY_SHAPES if has[1] != wants[1] else _LIKELY_DTYPES}"
            )
    for name in sorted(held.difference(names)):
        raise FathomError(
            f"the checkpoint {path} holds {name}, which this program does not have. {_LIKELY_NAMES}"
        )


_LIKELY_NAMES = (
    "Most likely it was written with another algorithm, other switches of the same one, or another version "
    "of Fathom or Optax: compare run.json in the run's folder."
)
_LIKELY_SHAPES = (
    "Most likely the environment's spaces, the number of seeds or environments, or a setting that shapes the "
    "network or the buffer differ from the run's: compare run.json in its folder."
)
_LIKELY_DTYPES = "Most likely another precision is set (JAX_ENABLE_X64) or the environment's dtypes changed."


def _expected_form(leaf: Any, note: dict[str, Any]) -> tuple[str, tuple[int, ...]]:
    if isinstance(leaf, bool | int | float):
        name = {bool: "bool", int: "int64", float: "float64"}[_python_type(leaf)]
        return name, ()
    if _is_key(leaf):
        if note["kind"] != "key":
            return str(leaf.dtype), tuple(leaf.shape)
        data = jax.eval_shape(
            jax.random.key_data, jax.eval_shape(lambda: jax.random.key(0, impl=note["impl"]))
        )
        if jax.eval_shape(lambda: jax.random.key(0, impl=note["impl"])).dtype != leaf.dtype:
            return str(leaf.dtype), tuple(leaf.shape)
        return data.dtype.name, (*leaf.shape, *data.shape)
    if note["kind"] == "key":
        return f"{np.dtype(leaf.dtype).name} (no random key)", tuple(leaf.shape)
    return np.dtype(leaf.dtype).name, tuple(leaf.shape)


def _form(dtype: str, shape: tuple[int, ...]) -> str:
    return f"{dtype} {list(shape)}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"
