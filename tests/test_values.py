"""Our frozen values are dataclasses to whoever uses them."""

import copy
import dataclasses
import inspect
import pickle
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, field
from typing import ClassVar

import pytest

from orchestrator.core import events, model
from orchestrator.core.frozen import dataclass
from orchestrator.providers import port as provider

FIELDS = {"kind": ClassVar[str], "id": str, "size": int, "parts": list, "note": Mapping, "key": str}
OPTIONS = {"frozen": True, "slots": True}


def body(name):
    """The same class, to be decorated in two ways."""
    return type(
        name,
        (),
        {
            "__doc__": "An example.",
            "__module__": __name__,
            "__qualname__": name,
            "__annotations__": {
                "kind": ClassVar[str],
                "id": str,
                "size": int,
                "parts": list,
                "note": Mapping,
                "key": str,
            },
            "kind": "example",
            "size": 3,
            "parts": field(default_factory=list, repr=False),
            "note": field(default_factory=dict, compare=False),
            "key": "a",
        },
    )


Ours = dataclass(**OPTIONS)(body("Ours"))
Theirs = dataclasses.dataclass(**OPTIONS)(body("Theirs"))
GIVEN = [(("x",), {}), (("x", 4, (1,), {"a": 1}, "k"), {}), ((), {"id": "y", "note": {}}), (("x",), {"parts": ()})]


@pytest.mark.parametrize(("words", "names"), GIVEN)
def test_a_value_has_the_fields_and_looks_of_a_dataclass(words, names):
    ours, theirs = Ours(*words, **names), Theirs(*words, **names)
    assert dataclasses.asdict(ours) == dataclasses.asdict(theirs)
    assert repr(ours) == repr(theirs).replace("Theirs", "Ours")
    assert dataclasses.astuple(dataclasses.replace(ours, size=9)) == dataclasses.astuple(
        dataclasses.replace(theirs, size=9)
    )
    assert Ours.__match_args__ == Theirs.__match_args__
    assert not hasattr(ours, "__dict__")


@pytest.mark.parametrize(
    ("words", "names", "said"),
    [
        ((), {}, "'id'"),
        (("x",), {"mood": 1}, "'mood'"),
        (("x",), {"id": "y"}, "multiple"),
        (tuple("abcdefg"), {}, "8 were given"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(words, names, said):
    with pytest.raises(TypeError, match=rf"Ours\.__init__\(\).*{said}"):
        Ours(*words, **names)


def test_what_a_factory_makes_is_each_values_own():
    assert Ours("x").parts is not Ours("x").parts


def test_values_are_equal_by_what_is_compared_and_only_within_their_class():
    one = Ours("x", parts=(1,), note={"a": 1})
    assert one == Ours("x", parts=(1,), note={"b": 2})
    assert hash(one) == hash(Ours("x", parts=(1,)))
    assert one != Ours("x", parts=(2,))
    assert one != Theirs("x", parts=(1,))
    with pytest.raises(TypeError, match="unhashable"):
        hash(Ours("x"))


def test_nobody_changes_a_value():
    one = Ours("x")
    for name in ("id", "mood"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(one, name, "y")
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(one, name)
    assert one.id == "x"


def test_a_value_can_be_copied_and_sent():
    one = model.Target("travis:acme/a", "travis", "acme/a", matrix=(("os", "linux"),))
    for twin in (copy.copy(one), copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
        assert twin == one
        assert twin is not one


def test_a_class_without_fields_has_one_value_and_one_by_identity_many():
    assert events.MarkerProven() == events.MarkerProven()
    assert hash(events.MarkerProven()) == hash(events.MarkerProven())
    same = dataclass(**OPTIONS, eq=False)(body("Same"))
    one = same("x")
    assert one == one
    assert one != same("x")
    assert isinstance(hash(one), int)


def test_what_it_cannot_make_it_refuses():
    with pytest.raises(TypeError, match="dataclasses"):
        dataclass(frozen=False, slots=True)
    with pytest.raises(SyntaxError):  # a field without a default behind one with it
        dataclass(**OPTIONS)(type("Odd", (), {"__annotations__": {"a": int, "b": int}, "a": 1, "__doc__": "Odd."}))


def test_a_method_of_the_class_stays():
    limit = model.Limit("triggers", 40, 30.0)
    assert str(limit) == "triggers 40/30s"
    assert "scope='account'" in repr(limit)


@pytest.mark.parametrize("module", [model, events, provider])
def test_only_init_is_compiled_for_a_class(module):
    for cls in vars(module).values():
        if inspect.isclass(cls) and dataclasses.is_dataclass(cls) and cls.__module__ == module.__name__:
            written = {name for name, one in vars(cls).items() if inspect.isfunction(one) and _is_compiled(one)}
            assert written == {"__init__"}, cls


def _is_compiled(function):
    return function.__code__.co_filename == "<string>"


def test_a_value_may_build_on_another():
    @dataclass(**OPTIONS)
    class More(Ours):
        """One field more."""

        more: int = 5

    one = More("x", 1, more=7)
    assert (one.id, one.size, one.key, one.more) == ("x", 1, "a", 7)
    assert one == More("x", 1, more=7)
    assert one != More("x", 1)
    assert one != Ours("x", 1)
    with pytest.raises(FrozenInstanceError):
        one.id = "y"
