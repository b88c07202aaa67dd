"""What the author of a plugin has to declare and to provide, and whether all of it is there."""

import inspect
from typing import ClassVar

import pytest

from .absent import Absent

COMPLETE = "test_the_declarations_are_complete"
"""The one test that fails if something is missing; the others are skipped then."""


class CheckedDeclarations:
    """Names what must be declared. A subclass has the names, and the fixtures to override."""

    attributes: ClassVar[tuple[str, ...]]
    """The class attributes that must be declared."""

    fixtures: ClassVar[tuple[str, ...]]
    """The fixtures that must be overridden."""

    absent_fixtures: ClassVar[tuple[str, ...]]
    """The fixtures that must be overridden too, and that may return ``Absent(reason)``."""

    @pytest.fixture(autouse=True)
    def _check_declarations(self, request: pytest.FixtureRequest) -> None:
        if request.function.__name__ == COMPLETE:
            return
        if self.missing_declarations():
            pytest.skip(f"a declaration is missing: see {COMPLETE}")
        for name in self.absent_fixtures:
            if name in request.fixturenames:
                skip_if_absent(name, request.getfixturevalue(name))

    def test_the_declarations_are_complete(self) -> None:
        missing = self.missing_declarations()
        contract = next(each.__name__ for each in type(self).__mro__ if each.__module__.startswith(__package__))
        assert not missing, f"{type(self).__name__} must declare {', '.join(missing)}: see {contract}"

    def missing_declarations(self) -> list[str]:
        """Return the attributes that are not declared, and the fixtures that are not overridden."""
        attributes = [name for name in self.attributes if not hasattr(self, name)]
        contract = next(each for each in type(self).__mro__ if "absent_fixtures" in vars(each))
        # Not getattr: pytest makes a new object at each access.
        fixtures = [
            f"the fixture {name}"
            for name in (*self.fixtures, *self.absent_fixtures)
            if inspect.getattr_static(type(self), name) is vars(contract)[name]
        ]
        return [*attributes, *fixtures]


def skip_if_absent(name: str, value: object) -> None:
    """Skip the test if the value of a fixture is ``Absent``, and fail it if the value is None."""
    if isinstance(value, Absent):
        pytest.skip(f"{name} is absent: {value.reason}")
    if value is None:
        pytest.fail(f'{name} returned None: return Absent("the reason") from a fixture that is absent')
