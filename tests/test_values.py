"""Our frozen values behave as values: equal by their fields, never changed, copied and sent."""

import copy
import inspect
import pickle

import pytest

from orchestrator.core import events, model
from orchestrator.core.frozen import Struct, replace
from orchestrator.core.secrets import Secrets
from orchestrator.manifest.diagnostics import Problem

TARGET = model.Target("travis:acme/a", "travis", "acme/a", matrix=(("os", "linux"),))


def test_values_are_equal_by_their_fields_and_only_within_their_class():
    assert events.Absent("a", 1, "x") == events.Absent("a", 1, "x")
    assert hash(events.Absent("a", 1, "x")) == hash(events.Absent("a", 1, "x"))
    assert events.Absent("a", 1, "x") != events.Absent("a", 2, "x")
    assert events.Absent("a", 1, "x") != events.Withdrawn("a", 1, "x")
    assert events.MarkerProven() == events.MarkerProven()


def test_a_target_is_the_same_whatever_is_sent_for_it_and_wherever_it_stands():
    twin = replace(TARGET, request={"message": "x"}, where="a.yaml:3:1")
    assert twin == TARGET
    assert hash(twin) == hash(TARGET)
    assert twin.request == {"message": "x"}
    assert replace(TARGET, branch="main") != TARGET
    assert TARGET != "travis:acme/a"


def test_a_problem_is_the_same_wherever_it_is_sorted():
    one, two = (Problem("a:1:1", "k", "wrong", order=order) for order in (1, 2))
    assert one == two
    assert len({one, two}) == 1
    assert one != replace(one, text="odd")


@pytest.mark.parametrize("name", ["id", "mood"])
def test_nobody_changes_a_value(name):
    with pytest.raises(AttributeError):
        setattr(TARGET, name, "y")
    with pytest.raises(AttributeError):
        delattr(TARGET, name)
    assert TARGET.id == "travis:acme/a"


def test_a_value_can_be_copied_and_sent():
    for twin in (copy.copy(TARGET), copy.deepcopy(TARGET), pickle.loads(pickle.dumps(TARGET))):
        assert twin == TARGET
        assert twin is not TARGET


def test_what_a_factory_makes_is_each_values_own():
    assert model.Request("1").handle is not model.Request("2").handle


def test_a_method_of_the_class_stays():
    limit = model.Limit("triggers", 40, 30.0)
    assert str(limit) == "triggers 40/30s"
    assert "scope='account'" in repr(limit)


def test_what_secrets_are_read_from_is_not_shown(tmp_path):
    assert "abc" not in repr(Secrets({"TOKEN": "abc"}, tmp_path, tmp_path))


@pytest.mark.parametrize("module", [model, events])
def test_every_value_is_frozen(module):
    values = [cls for cls in vars(module).values() if inspect.isclass(cls) and issubclass(cls, Struct)]
    assert [cls for cls in values if cls is not Struct and not cls.__struct_config__.frozen] == []
