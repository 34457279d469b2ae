"""Suite files by path and by name."""

import pytest

from harness.api.errors import UserError
from harness.config.paths import locate
from harness.config.shipped_suites import shipped_suites


@pytest.mark.parametrize("typed", ["quick", "quick.yaml", "suites/quick"])
def test_a_shipped_suite_is_found_by_its_name(tmp_path, monkeypatch, typed):
    monkeypatch.chdir(tmp_path)
    assert locate(typed) == shipped_suites()["quick"]


def test_a_name_that_no_suite_has(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = "no such file, and no shipped suite of this name; "
    with pytest.raises(UserError, match=f"^glu: {missing}did you mean 'glue'\\?$"):
        locate("glu")
    with pytest.raises(UserError, match=f"^mine.yml: {missing}shipped suites: all-methods, .*, tinybert-study$"):
        locate("mine.yml")
    with pytest.raises(UserError, match="is a folder, expected a suite file; shipped suites: "):
        locate(tmp_path)
