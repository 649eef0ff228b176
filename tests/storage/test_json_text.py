"""JSON is measured before it is parsed."""

import json
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sklflat.exceptions import CheckpointError
from sklflat.storage import read, write
from sklflat.storage.json_text import Damage, check, parse
from tests.storage.test_files import crafted, signed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False),
    lambda below: st.lists(below) | st.dictionaries(st.text(), below),
)


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_what_json_writes_is_parsed(value):
    try:
        text = json.dumps(value)
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:  # half a character
        return
    assert parse(text) == value


@given(st.text(alphabet='[]{}":,\\a1 \n'))
def test_a_text_is_a_value_or_damage(text):
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(Damage):
            parse(text)
        return
    if text.count(":") < 2:  # no name can occur twice
        assert parse(text) == expected


@pytest.fixture
def deep_recursion():
    """As a user may have allowed, so that Python does not stop what is too deep for C's stack."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(10**6)
    yield
    sys.setrecursionlimit(before)


@pytest.mark.parametrize("unit", [("[", "]"), ('{"a":', "}"), ('[{"a":[', "]}]"), ("[[", "")])
def test_what_is_nested_is_refused_before_it_is_parsed(tmp_path, deep_recursion, unit):
    begin, end = unit
    text = begin * 100_000 + "1" + end * 100_000
    path = tmp_path / "x.safetensors"
    for content in (signed({}, text=text), crafted(text.encode())):
        path.write_bytes(content)
        with pytest.raises(CheckpointError):
            read(path)


def test_brackets_in_texts_are_not_nested():
    check(json.dumps(["[" * 1000, '"[\\"' * 1000, "\\", "{" * 1000]))
    check('"' + '\\"' * 10**6)  # which never ends, in linear time


@pytest.mark.parametrize("unit", ["[],", "{},", '{"a":{}},', "[[]],", '{"r":1},', '"%d":0,'])
def test_memory_is_bounded_by_the_size(unit):
    if "%d" in unit:
        text = "{" + "".join(unit % k for k in range(1_000_000)) + '"":0}'
    else:
        text = "[" + unit * (8_000_000 // len(unit)) + "0]"
    tracemalloc.start()
    with pytest.raises(Damage, match="too many parts"):
        check(text)
    assert tracemalloc.get_traced_memory()[1] < 13 * len(text)
    tracemalloc.stop()


def test_what_could_not_be_read_is_not_written(tmp_path):
    path = tmp_path / "x.safetensors"
    nested = 0
    for _ in range(200):
        nested = [nested]
    for info in (nested, [[]] * 3_000_000):
        with pytest.raises(TypeError, match="could not be read again"):
            write(path, {}, info)
    assert not path.exists()
