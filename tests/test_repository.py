"What surrounds the package: forms and workflows that keep to their schemas, one version everywhere."

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import clfnb

ROOT = Path(__file__).resolve().parent.parent
SCHEMAS = {
    ".github/workflows/*.yml": "vendor.github-workflows",
    ".github/dependabot.yml": "vendor.dependabot",
    ".github/ISSUE_TEMPLATE/[!c]*.yml": "vendor.github-issue-forms",
    ".github/ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "CITATION.cff": "vendor.citation-file-format",
}


@pytest.mark.parametrize("pattern", SCHEMAS)
def test_files_for_services_keep_to_their_schema(pattern):
    files = sorted(map(str, ROOT.glob(pattern)))
    assert files
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[pattern]]
    options = ["--default-filetype", "yaml", "--disable-formats", "regex"]
    found = subprocess.run([*command, *options, *files], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_one_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert cited["version"] == clfnb.__version__
    headings = re.findall(r"^## \[?(.+?)\]?(?: - .+)?$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased" and set(headings[1:]) <= {clfnb.__version__}


def test_the_image_copies_what_is_there():
    copied = re.findall(r"^COPY (?!\. \.)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    names = " ".join(copied).split()
    assert {"clfnb", "nbs", "pyproject.toml"} <= set(names)
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_issue_form_asks_for_the_report_that_doctor_writes():
    form = (ROOT / ".github/ISSUE_TEMPLATE/problem.yml").read_text(encoding="utf-8")
    assert "clfnb doctor --report" in form and "clfnb-report.md" in form


def test_types_are_published():
    assert (Path(clfnb.__file__).parent / "py.typed").exists()
