"""The values that the packages exchange."""

import inspect
from dataclasses import MISSING, FrozenInstanceError, fields, replace

import pytest

from os_volume_ext.models import Server, Volume

REQUIRED = inspect.Parameter.empty


@pytest.mark.parametrize("kind", [Server, Volume])
def test_each_field_is_a_parameter_in_its_place_and_with_its_default(kind):
    given = [
        (each.name, each.default)
        for each in inspect.signature(kind).parameters.values()
        if each.kind == each.POSITIONAL_OR_KEYWORD
    ]
    assert given == [(each.name, REQUIRED if each.default is MISSING else each.default) for each in fields(kind)]


@pytest.mark.parametrize("kind", [Server, Volume])
def test_each_field_has_what_it_was_given_and_keeps_it(kind):
    values = {each.name: object() for each in fields(kind)}
    made = kind(**values)
    assert {name: getattr(made, name) for name in values} == values
    assert vars(made) == values
    for name in values:
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, None)
        assert getattr(replace(made, **{name: None}), name) is None
