"""Two releases of a mart, as the tests of releases have them."""

from tests.unit.release.conftest import first_stage, second, second_stage

__all__ = ["first_stage", "second", "second_stage"]
