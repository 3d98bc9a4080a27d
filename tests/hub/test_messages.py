"""The protocol: what is written is read again, and what is wrong is refused with a reason."""

import dataclasses
import typing
from pathlib import Path
from typing import Any, Literal

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fathom.hub import equations, messages
from fathom.hub.messages import BadMessage, Tensor, decode, encode

WEB = Path(__file__).parents[2] / "web" / "src"

_ANY = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8)


def _values(hint: Any) -> st.SearchStrategy:
    """Values that a field's type allows."""
    origin, arms = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return _ANY
    if origin is Literal:
        return st.sampled_from(arms)
    if origin is list:
        return st.lists(_values(arms[0]), max_size=2)
    if origin is dict:
        return st.dictionaries(st.text(max_size=6), _values(arms[1]), max_size=2)
    if arms:
        return st.one_of(*map(_values, arms))
    if dataclasses.is_dataclass(hint):
        return _messages(typing.cast(type, hint))
    return {
        int: st.integers(-(2**50), 2**50),
        float: st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(max_size=12),
        bool: st.booleans(),
        bytes: st.binary(max_size=12),
        type(None): st.none(),
    }[hint]


def _messages(kind: type) -> st.SearchStrategy:
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{f.name: _values(hints[f.name]) for f in dataclasses.fields(kind)})


_KINDS = messages.REQUESTS | messages.MESSAGES


@pytest.mark.parametrize("name", _KINDS)
def test_what_is_written_is_read_again(name: str) -> None:
    @given(_messages(_KINDS[name]))
    def same(message: Any) -> None:
        packed = encode(message)
        assert messages.kind_of(packed) == name
        assert messages.plain(decode(packed, _KINDS, messages.MESSAGE_BYTES)) == messages.plain(message)

    same()


@given(st.binary(max_size=200))
def test_no_bytes_are_too_strange_to_refuse(data: bytes) -> None:
    with pytest.raises(BadMessage):
        decode(data)
    assert isinstance(messages.request_id(data), int)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("text", "binary msgpack; got str"),
        (b"\x00" * (messages.REQUEST_BYTES + 1), "262,145 bytes"),
        (msgpack.packb([1]), "a map with a `type`"),
        (msgpack.packb({"type": "plai"}), "Did you mean 'play'"),
        (msgpack.packb({"type": "play"}), "needs the field 'id'"),
        (msgpack.packb({"type": "play", "id": "1"}), "play.id is '1'; it is a whole number"),
        (msgpack.packb({"type": "play", "id": True}), "play.id is True"),
        (msgpack.packb({"type": "play", "id": 1, "x": 1}), "no field 'x'"),
        (msgpack.packb({"type": "seek", "id": 1, "u": 2**60}), "2\\*\\*53"),
        (msgpack.packb({"type": "set", "id": 1, "patch": {"a": float("nan")}}), "must be finite"),
        (msgpack.packb({"type": "step", "id": 1, "unit": "year"}), "one of env, update, episode"),
        (msgpack.packb({"type": "frame"}), "no message of the type 'frame'"),
    ],
)
def test_what_is_wrong_is_said(data: Any, said: str) -> None:
    with pytest.raises(BadMessage, match=said):
        decode(data)


def test_a_request_that_cannot_be_read_still_has_its_id() -> None:
    assert messages.request_id(msgpack.packb({"type": "nonsense", "id": 7})) == 7
    assert messages.request_id(b"\xc1") == 0


@pytest.mark.parametrize(("d", "dtype"), [("f4", "f4"), ("i4", "i4"), ("u4", "u4"), ("u1", "u1")])
def test_tensors_keep_their_numbers(d: Any, dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    again = Tensor.of(array, d).array()
    assert again.shape == (3, 4)
    np.testing.assert_array_equal(again, array)


def test_hashes_tell_apart_what_differs_by_a_bit() -> None:
    x = np.ones(4, np.float32)
    y = np.nextafter(x, 2, dtype=np.float32)
    assert messages.digest(x) == messages.digest(x.copy())
    assert len({messages.digest(x), messages.digest(y), messages.digest(x.reshape(2, 2))}) == 3


def test_the_pages_types_are_those_of_python() -> None:
    """Where this fails: python -m fathom.hub.messages > web/src/messages.ts."""
    assert (WEB / "messages.ts").read_text(encoding="utf-8") == messages.typescript()


def test_the_pages_equations_are_those_of_python() -> None:
    """Where this fails: python -m fathom.hub.equations > web/src/equations.json."""
    assert (WEB / "equations.json").read_text(encoding="utf-8") == equations.as_json()
