"""Suite files by path and by name."""

import pytest

from harness.api.errors import UserError
from harness.config.paths import find_files, locate, text_files
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


@pytest.mark.parametrize("folder", ["data [1]", "what?", "a*b", "plain"])
def test_wildcards_match_below_a_folder_whose_name_has_such_characters(tmp_path, folder):
    files = [tmp_path / folder / name for name in ("x1.csv", "x2.csv", "deep/x3.csv")]
    for file in (*files, tmp_path / "a-b" / "x1.csv"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert text_files(str(tmp_path / folder / "x*.csv")) == [str(file) for file in files[:2]]
    assert text_files(str(tmp_path / folder / "**" / "x*.csv")) == sorted(map(str, files))
    assert find_files("x[12].csv", [tmp_path / folder]) == str(tmp_path / folder / "x[12].csv")
    assert text_files(str(files[0])) == [str(files[0])]
