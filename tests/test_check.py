"The runner behind `make test`: every test file is run once, and what fails is counted."

import check
import pytest


def test_every_test_file_is_in_one_group_and_long_ones_come_first():
    files = sorted((check.ROOT / "tests").glob("test_*.py"))
    groups = check.test_groups(files)
    assert sorted(path for group in groups for path in group) == files
    alone = [group[0].stem.removeprefix("test_") for group in groups if len(group) == 1]
    assert alone == sorted(check.LONG, key=check.LONG.get, reverse=True)
    assert max(map(len, groups[:2])) == len(files) - len(alone)
    assert check.test_groups([]) == []


@pytest.mark.parametrize("text, passed, failed, skipped", [
    ("def test_a(): pass\ndef test_b(): assert 0", 1, 1, 0),
    ("import pytest\n\ndef test_a(): pytest.skip('why')", 0, 0, 1),
    ("import pytest\n\n@pytest.mark.slow\ndef test_a(): pass", 0, 0, 0),
    ("import nowhere", 0, 1, 0),
    ("import os\n\ndef test_a(): os._exit(3)", 0, 1, 0),
])  # fmt: skip
def test_what_fails_is_counted(tmp_path, monkeypatch, text, passed, failed, skipped):
    (tmp_path / "pyproject.toml").write_bytes((check.ROOT / "pyproject.toml").read_bytes())
    file = tmp_path / "tests" / "test_one.py"
    file.parent.mkdir()
    file.write_text(text)
    monkeypatch.setattr(check, "ROOT", tmp_path)
    found, seconds, name, said = check.run_pytest([file], tmp_path / "report.xml")
    assert (found["passed"], found["failed"], found["skipped"]) == (passed, failed, skipped), said
    assert name == "tests/test_one.py" and seconds > 0
