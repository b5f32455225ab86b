"The builder without a browser: what it refuses and how it says so, what it executes again, what it reads from code."

import atexit
import builtins
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from docs import execute, generated, notebooks, pages, stable, symbols  # noqa: E402
from docs.contents import Page, page_name, read_contents, slug, version  # noqa: E402
from docs.glossary import read_bibliography, read_glossary  # noqa: E402

LESSONS = sorted((ROOT / "nbs" / "lessons").glob("[0-9]*.ipynb"))


def write_notebook(path, *cells, front=None):
    "A notebook file of (kind, source) cells below a title."
    kinds = [("raw", f"---\n{front}\n---")] if front else []
    kinds += [("markdown", "# A page\n> About a thing"), *cells]
    found = [{"cell_type": kind, "id": f"c{i}", "metadata": {}, "source": text} | ({"outputs": [], "execution_count": None} if kind == "code" else {})
             for i, (kind, text) in enumerate(kinds)]  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"cells": found, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}),
        encoding="utf-8",
    )
    return path


@pytest.fixture
def extension(monkeypatch):
    "Sphinx's part of the builder, which Sphinx finds in docs/theme."
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(ROOT / "docs" / "theme")
    return importlib.import_module("extension")


# What is refused


@pytest.mark.parametrize("kind, source, reason", [
    ("markdown", "Text\n\n::: {.panel-tabset}\nx\n:::", "a fenced div that is no callout"),
    ("markdown", "{{< video a.mp4 >}}", "a Quarto shortcode"),
    ("markdown", "See @fig-one.", "a Quarto cross-reference"),
    ("markdown", "```{note}\nx\n```", "a directive"),
    ("markdown", "<script src='https://elsewhere.org/x.js'></script>", "an HTML element"),
    ("markdown", "A claim.[^1]", "a footnote"),
    ("code", "#| layout-ncol: 2\n1 + 1", r"unknown directive \['layout-ncol'\]"),
    ("raw", "<b>html</b>", "a raw cell must be the first one"),
])  # fmt: skip
def test_what_cannot_be_rendered_is_refused_with_its_place(tmp_path, kind, source, reason):
    path = write_notebook(tmp_path / "a.ipynb", ("markdown", "fine"), (kind, source))
    with pytest.raises(notebooks.Refused, match=rf"guides/a.ipynb, cell 2: .*{reason}"):
        notebooks.read_notebook(path, "guides/a.ipynb")


def test_the_same_words_in_code_are_fine(tmp_path):
    shown = "Write `{{< video >}}` or `@fig-one`:\n\n    ::: {.panel-tabset}\n\n::: {.callout-note}\nx\n:::\n\n```sh\nls [^a]*\n```"
    notebooks.read_notebook(
        write_notebook(tmp_path / "a.ipynb", ("markdown", shown.replace("ls [^a]*", "ls"))),
        "guides/a.ipynb",
    )


@pytest.mark.parametrize(
    "front, reason",
    [("level: easy", "a lesson needs"), ("level: [", "no YAML"), ("easy", "'key: value' lines")],
)
def test_front_matter_is_read_strictly(tmp_path, front, reason):
    with pytest.raises(notebooks.Refused, match=rf"lessons/01_a.ipynb, cell 0: .*{reason}"):
        notebooks.read_notebook(
            write_notebook(tmp_path / "01_a.ipynb", front=front), "lessons/01_a.ipynb"
        )


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_every_lesson_says_what_it_takes(path):
    front = notebooks.read_notebook(path, f"lessons/{path.name}").front
    assert set(front) == set(notebooks.LESSON_KEYS) and all(
        str(value).strip() for value in front.values()
    )


def test_unknown_keys_of_the_table_of_contents_are_refused(tmp_path):
    text = (ROOT / "_quarto.yml").read_text("utf-8")
    for old, new, reason in (("  sidebar:", "  navbar: true\n  sidebar:", "navbar"), ("      - index.ipynb", "      - auto: true", "auto"),
                             ("      - index.ipynb", "      - index.ipynb\n      - index.ipynb", "listed twice")):  # fmt: skip
        (tmp_path / "_quarto.yml").write_text(text.replace(old, new, 1), encoding="utf-8")
        with pytest.raises(ValueError, match=reason):
            read_contents(tmp_path / "_quarto.yml")


def test_a_link_that_leads_nowhere_is_refused():
    site = read_contents(ROOT / "_quarto.yml")
    good = pages.rewrite_links(
        "[a](../lessons/01_ecg_delineation.ipynb#x) [b](../../settings.ini) `[c](d)`",
        3,
        "guides/gpu.ipynb",
        site,
    )
    assert (
        good
        == "[a](../lessons/ecg_delineation.ipynb#x) [b](https://github.com/clfnb/clfnb/blob/main/settings.ini) `[c](d)`"
    )
    with pytest.raises(
        notebooks.Refused,
        match="guides/gpu.ipynb, cell 3: the link to 'nothing.ipynb' leads nowhere",
    ):
        pages.rewrite_links("[a](nothing.ipynb)", 3, "guides/gpu.ipynb", site)


# What is executed, and when again


def test_a_failing_cell_is_named_and_nothing_is_kept(tmp_path):
    path = write_notebook(
        tmp_path / "bad.ipynb", ("code", "1 + 1"), ("code", "raise KeyError('no such wave')")
    )
    passed, _, error = execute.run_notebook(path, tmp_path / "kept")
    assert not passed and re.search(r"bad\.ipynb, cell 2:", error) and "no such wave" in error
    assert not (tmp_path / "kept").exists()


def test_outputs_are_kept_until_the_code_changes(tmp_path):
    path, kept = (
        write_notebook(
            tmp_path / "a.ipynb", ("code", "print('one')"), ("code", "#| eval: false\n1 / 0")
        ),
        tmp_path / "kept",
    )
    assert execute.run_notebook(path, kept)[0]
    first = execute.kept_path(path, kept)
    assert (
        first.is_file()
        and execute.executed_notebook(path, "a.ipynb", kept).cells[1].outputs[0]["text"] == "one\n"
    )
    write_notebook(
        path,
        ("code", "print('one')"),
        ("markdown", "more prose"),
        ("code", "#| eval: false\n1 / 0"),
    )
    assert execute.kept_path(path, kept) == first
    write_notebook(path, ("code", "print('two')"), ("code", "#| eval: false\n1 / 0"))
    assert execute.kept_path(path, kept) != first
    execute.run_notebook(path, kept)
    assert not first.exists() and len(list(kept.iterdir())) == 1


def test_a_notebook_depends_on_the_modules_that_it_leads_to():
    found = {
        path.relative_to(ROOT).as_posix()
        for path in execute.dependencies(
            ROOT / "nbs" / "lib" / "tracks" / "ecg" / "delineator.ipynb"
        )
    }
    assert {
        "clfnb/tracks/ecg/examples.py",
        "clfnb/evaluation/delineation.py",
        "clfnb/preprocessing/ecg/windows.py",
    } <= found
    assert "clfnb/cli.py" not in found
    simulators = [ROOT / "clfnb" / "simulate" / "ecg" / f"{name}.py" for name in ("records", "model")]  # fmt: skip
    assert set(simulators) <= set(execute.dependencies(LESSONS[0]))  # `resolve` reads the registry
    reference = ROOT / "nbs" / "reference"
    assert execute.dependencies(reference / "glossary.ipynb") == []
    card = execute.dependencies(reference / "model_ecg.ipynb")
    weights = ROOT / "clfnb" / "weights" / "ecg" / "model.safetensors"
    tables = reference / "results" / "ecg"
    assert {weights, tables / "best_of_two_per_beat.csv", tables / "about.json"} <= set(card)
    shown = execute.dependencies(reference / "results.ipynb")
    assert {
        file
        for file in (reference / "results").glob("*/*.csv")
        if file.parent.name != "calibration"
    } <= set(shown)
    assert LESSONS[0] in execute.dependencies(ROOT / "nbs" / "lib" / "cli.ipynb")


def test_a_failed_build_leaves_the_old_site(tmp_path, monkeypatch):
    from docs import site

    target = tmp_path / "_docs"
    target.mkdir()
    (target / "index.html").write_text("the old site", encoding="utf-8")
    for error, step in (
        (execute.CellError("x"), "execute_all"),
        (site.SiteError("y"), "run_sphinx"),
    ):

        def fail(*arguments, error=error):
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(site, "execute_all", lambda *arguments: None)
            patch.setattr(
                site, "read_book", lambda kept: site.Book(read_contents(ROOT / "_quarto.yml"), {})
            )
            patch.setattr(site, "stage_all", lambda *arguments: {})
            patch.setattr(site, "fingerprint", lambda *arguments: "new")
            patch.setattr(site, step, fail)
            with pytest.raises(type(error)):
                site.build(target, tmp_path / "kept", tmp_path / "build")
        assert (target / "index.html").read_text("utf-8") == "the old site"


def test_publishing_replaces_the_whole_folder(tmp_path):
    from docs.site import publish

    for name, file in (("built", "new.html"), ("_docs", "old.html")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).touch()
    publish(tmp_path / "built", tmp_path / "_docs")
    assert sorted(path.name for path in tmp_path.rglob("*")) == [
        "_docs",
        "built",
        "new.html",
        "new.html",
    ]


def test_style_sheets_lose_comments_and_keep_their_rules(tmp_path):
    from docs.site import slim_styles

    path = tmp_path / "a" / "b.css"
    path.parent.mkdir()
    path.write_text(
        '/*! MIT */\n/* many\n words */\n\np {\n  margin: 0; /* "none" */\n}\nq::after { content: "/* é */"; }\n',
        encoding="utf-8",
    )
    slim_styles(tmp_path)
    slim = '/*! MIT */\np {\nmargin: 0;\n}\nq::after { content: "/* é */"; }\n'
    assert path.read_text(encoding="utf-8") == slim
    slim_styles(tmp_path)
    assert path.read_text(encoding="utf-8") == slim


def test_the_longest_notebooks_are_named():
    from docs import site

    book = site.Book(None, {})
    for name, seconds in (("a.ipynb", 3.2), ("b.ipynb", 60.0), ("c.ipynb", 1.0)):
        executed = {"seconds": seconds}
        book.notebooks[name] = notebooks.Notebook(name, [], "", "", {}, executed=executed)
    said = site.slowest(book, 2)
    assert said == "64 s of execution in all; longest: b.ipynb 60 s, a.ipynb 3 s"


def test_sphinx_warnings_name_the_notebook_and_its_cell(tmp_path):
    from docs import site

    book = site.Book(read_contents(ROOT / "_quarto.yml"), {})
    said = site.explain(
        f"{tmp_path}/lib/cli.ipynb:20003: WARNING: bad", tmp_path, book, {"lib/cli": [0, 7]}
    )
    assert said == "nbs/lib/cli.ipynb, cell 7, line 3: WARNING: bad"


def test_a_page_of_the_library_is_titled_in_words():
    page = Page("lib/files.ipynb", "lib/files")
    named = notebooks.Notebook("lib/files.ipynb", [], "Files", "About a thing", {}, module="files")
    assert pages.page_title(page, named) == "Files"
    top = pages.first_cell(named, "# Files\n> About a thing\n\nText", "Files", "")
    assert top.startswith("# Files\n") and "Module `clfnb.files`" in top and top.endswith("Text")
    named.title = "files"
    assert pages.page_title(page, named) == "clfnb.files"
    assert "Module" not in pages.first_cell(named, "# files\n> A", "clfnb.files", "")


DAY = "2026-01-31"
UNSTABLE = {  # what an execution says → what the site says
    "epoch 3  lr 0.01  seconds 2.3": "epoch 3  lr 0.01  seconds …",
    "boxes, fold 0: 29 s": "boxes, fold 0: … s",
    "4 runs: 4 done; 2.1 min": "4 runs: 4 done; … s",
    "1000 plans in 0.03 s": "1000 plans in … s",
    "(1 of 2 done · 1 running · about 1.7 min left)": "(1 of 2 done · 1 running · about … left)",
    f"{tempfile.gettempdir()}/tmpv661r4_n/qtdb": f"{tempfile.gettempdir()}/…/qtdb",
    f"{tempfile.gettempdir()}/clfnb-docs-a1b2/ecg": "runs/ecg",
    "<_io.BytesIO at 0x7ff83dcfeb10>": "<_io.BytesIO at 0x…>",
    "'20260131-065955-374699'": "'YYYYMMDD-HHMMSS-374699'",
    "started 2026-01-30T23:59:59+00:00": "started YYYY-MM-DDTHH:MM+00:00",
    "'pid': 16677, 'seconds': 1.2633": "'pid': …, 'seconds': …",
    "sweep_seconds    37.74": "sweep_seconds    …",
    f"{ROOT}/clfnb/cli.py": "clfnb/clfnb/cli.py",
    f"{Path.home()}/.cache/clfnb": "~/.cache/clfnb",
}
RESULTS = (
    "'seconds': 6.0, 'seconds_without_signal': 0", "151 samples = 604 ms", "noisy for 23 s",
    "20251231-065955-374699", "missing for 2 s; flat for 16 s; noisy for 24 s", "accuracy    37.74", f"{ROOT}-other/cli.py",
    f"n: 80 records; measured on {DAY}",
)  # fmt: skip


def test_what_changes_between_executions_is_left_out_and_no_result_is():
    for said, shown in UNSTABLE.items():
        assert stable.stable_text(said, DAY, printed=True) == shown
    for said in RESULTS:
        assert stable.stable_text(said, DAY, printed=True) == said
    assert stable.stable_text("29 s", DAY) == "29 s"  # a value, not a line that was printed


def test_runs_that_end_side_by_side_are_listed_in_one_order():
    lines = ["a", "finished  seed=1  (1 of 2 done · 1 running)", "finished  seed=0  (2 of 2 done)"]
    assert stable.in_order([*lines, "b"]) == [
        *("a", "finished  seed=0  (1 of 2 done · 1 running)", "finished  seed=1  (2 of 2 done)"),
        "b",
    ]


def test_what_is_printed_without_a_break_is_one_output():
    def part(text, name="stdout"):
        return {"output_type": "stream", "name": name, "text": text}

    shown = {"output_type": "display_data", "data": {}}
    parts = [part("a\n"), part("b\n"), part("c", "stderr"), shown, part("d"), part("e")]
    joined = [part("a\nb\n"), part("c", "stderr"), shown, part("de")]
    assert stable.joined_streams(parts) == joined == stable.joined_streams(joined)
    assert stable.joined_streams([]) == []


def test_a_table_of_epochs_has_no_seconds():
    timed = pd.DataFrame({"epoch": [0, 1], "loss": [0.5, 0.25], "seconds": [2.3, 12.25]})
    beats = pd.DataFrame({"beat": [0, 1], "seconds": [0.81, 1.62]})
    for table, kept in ((timed, False), (beats, True)):
        data = {"text/html": table._repr_html_(), "text/plain": repr(table)}
        output = {"output_type": "display_data", "data": data}
        shown = stable.stable_output(output, DAY)["data"]
        assert (shown == data) is kept
        assert ("2.3" in str(shown)) is False and "0.25" in str(shown) or kept
    assert stable.stable_output(output, DAY) == output
    assert stable.stable_output({"output_type": "error"}, DAY) == {"output_type": "error"}
    curve = {"output_type": "display_data", "data": {}, "metadata": {"image/png": {"width": 4}}}
    timed = curve | {"metadata": curve["metadata"] | {"line": "epoch 1  seconds 1.8"}}
    assert stable.stable_output(timed, DAY) == curve


# What is read from code and from words


CODE = """
def share(
    n: int,             # how many
    *, level=0.95,      # coverage
    a: int, b: int,     # two of a kind
) -> float:             # between 0 and 1
    "A share."

@patch
def fit(self: Trainer, epochs: int = 1): "Train."

@dataclass
class Row:
    "A row."
    name: str        # its name
    size: int = 3    # its size
    def area(self): "Its area."

LIMIT, _hidden = 3, 4
def _grow(self, by: int): "Grow."
Row.grow, Row.shrink = _grow, None
"""


def test_symbols_are_read_without_importing_them():
    found = {symbol.name: symbol for symbol in symbols.read_symbols(CODE)}
    assert list(found) == ["share", "Trainer.fit", "Row", "LIMIT", "Row.grow"]
    assert found["share"].signature == "(n: int, *, level=0.95, a: int, b: int) -> float"
    assert [(row.name, row.meaning) for row in found["share"].parameters] == [
        ("n", "how many"),
        ("level", "coverage"),
        ("a, b", "two of a kind"),
    ]
    assert found["share"].returns.meaning == "between 0 and 1"
    assert (found["Trainer.fit"].kind, found["Trainer.fit"].signature) == (
        "method",
        "(epochs: int = 1)",
    )
    assert [row.default for row in found["Row"].parameters] == ["", "3"] and found["Row"].members[
        0
    ].name == "Row.area"
    assert (found["Row.grow"].kind, found["Row.grow"].signature) == ("method", "(by: int)")
    assert (
        symbols.lines_of(CODE)["Trainer.fit"] == (10, 10)
        and symbols.lines_of(CODE)["Row.grow"] == symbols.lines_of(CODE)["_grow"]
    )


def test_parameters_are_shown_in_two_groups():
    text = "# fmt: off\ndata: str = ''  # a folder\n# all parameters\nseed: int = 0  # 0..9"
    cell = notebooks.Cell(3, "code", text, tags=("parameters",))
    shown = pages.code_cells(cell, "Parameters", "")
    assert [part["source"] for part in shown] == [
        "data: str = ''  # a folder",
        "seed: int = 0  # 0..9",
    ]
    assert shown[1]["metadata"]["mystnb"]["code_prompt_show"] == "All parameters"
    cell.source = "# fmt: off\nseed: int = 0  # 0..9"
    assert [part["source"] for part in pages.code_cells(cell, "", "")] == ["seed: int = 0  # 0..9"]


def test_a_diagram_is_called_by_its_heading_and_its_text_survives():
    text = 'Why:\n\n```mermaid\nflowchart LR\n    A["x<br>y"] --> B\n\n    B --> C\n```\n\n```sh\nls\n```'
    drawn = pages.diagrams(text, "The `loop`")
    assert drawn.startswith('Why:\n\n<pre class="mermaid">flowchart LR\n    accTitle: The loop\n')
    assert (
        "A[&quot;x&lt;br&gt;y&quot;] --&gt; B\n\n    B --&gt; C</pre>" in drawn and "```sh" in drawn
    )
    named = pages.diagrams("```mermaid\nflowchart LR\n  accTitle: Mine\n  A\n```", "H")
    assert named.count("accTitle") == 1 and "accTitle: Mine" in named


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.name)
def test_the_copy_for_colab_installs_its_release_first(path):
    lesson = json.loads(path.read_text("utf-8"))
    copy = generated.colab_copy(lesson, version())
    nbformat.validate(copy)
    assert f'%pip install -q "clfnb[sweep]=={version()}"' in "".join(copy["cells"][0]["source"])
    assert copy["cells"][1:] == [cell for cell in lesson["cells"] if cell["cell_type"] != "raw"]
    assert lesson["cells"][0]["cell_type"] == "raw"  # the lesson itself stays as it was


SIDEBAR = """<p class="caption" role="heading"><span class="caption-text">Library</span></p>
<ul>
<li class="toctree-l1"><a class="reference internal" href="library.html">Overview</a></li>
<li class="toctree-l1"><a class="reference internal" href="library/data.html">Data</a><ul>
<li class="toctree-l2"><a class="reference internal" href="lib/data/cards.html">cards</a></li>
</ul>
</li>
</ul>"""


def test_the_sidebar_of_a_page_is_made_from_that_of_another(extension):
    includes = {"index": ["library", "library/data"], "library/data": ["lib/data/cards"]}
    parents = extension.parents_of(includes)
    assert parents == {"lib/data/cards": "library/data"}
    tree = extension.tree_for(SIDEBAR, "lib/data/cards", parents)
    own = '<li class="toctree-l2 current"><a class="current reference internal" href="#">cards'
    above = '<li class="toctree-l1 current"><a class="reference internal" href="../../library/data.html">Data'
    other = (
        '<li class="toctree-l1"><a class="reference internal" href="../../library.html">Overview'
    )
    assert own in tree and above in tree and other in tree
    assert extension.tree_for(SIDEBAR, "404", parents) == SIDEBAR


def bibliography():
    path = ROOT / "nbs" / "reference" / "bibliography.ipynb"
    return read_bibliography(notebooks.read_notebook(path, "reference/bibliography.ipynb"))


def test_citations_are_recognised_however_they_are_written(extension):
    keys = (("Guo", "2017"), ("Sun", "2014"), ("Martínez", "2004"), ("Ibrahim", "2016"))
    pattern = extension.citation_pattern(keys)
    text = "Guo (2017), Sun and Xu 2014; Martinez 2004, Ibrahim et al. (2016, page 3), McGuo 2017, Guo 20178"
    found = [match[0] for match in pattern.finditer(text)]
    assert found == ["Guo (2017", "Sun and Xu 2014", "Martinez 2004", "Ibrahim et al. (2016"]


def test_what_the_pages_cite_is_in_the_bibliography(extension):
    pattern = extension.citation_pattern(tuple((name, year) for name, year, _, _ in bibliography()))
    cited = re.compile(
        r"[A-ZÉŁ][\w'’-]+(?: et al\.|(?:, [A-Z][\w-]+)*,? and [A-Z][\w'-]+)? \(?(?:19|20)\d\d\b"
    )
    lacking = set()
    for path in sorted((ROOT / "nbs").rglob("*.ipynb")):
        if path.name == "bibliography.ipynb":
            continue
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            prose = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            places = [match.span() for match in pattern.finditer(prose)]
            for match in cited.finditer(prose):
                if not any(start < match.end() and match.start() < end for start, end in places):
                    lacking.add(match[0])
    assert lacking <= {"Bowl 2015"}


def test_each_entry_can_be_found():
    entries = bibliography()
    books = {
        "Abramowitz",
        "Förstner",
        "Goodman",
        "Hays",
        "Huber",
        "Kish",
        "Mani",
        "Jordan",
        "Okabe",
        "Platt",
    }
    assert {
        name for name, _, _, text in entries if not re.search(r"doi 10\.|arXiv \d", text)
    } == books


def test_entries_are_in_alphabetical_order_within_each_subject():
    path = ROOT / "nbs" / "reference" / "bibliography.ipynb"
    cells = json.loads(path.read_text("utf-8"))["cells"]
    subjects = re.split(r"^## ", "\n".join("".join(cell["source"]) for cell in cells), flags=re.M)
    plain = str.maketrans("ÉéÅåÄäÖöÜüŁłęí", "EeAaAaOoUuLlei")
    for subject in subjects[1:]:
        keys = re.findall(r"^- \*\*(.+?) (\d{4})\.\*\*", subject, flags=re.M)
        order = [(name.translate(plain).lower().split(" and ")[0], year) for name, year in keys]
        assert len(order) > 3 and order == sorted(order), subject.splitlines()[0]


def test_addresses_are_those_of_quarto():
    assert page_name("lessons/01_ecg_delineation.ipynb") == "lessons/ecg_delineation"
    assert slug("Wilson's interval: a share") == "wilsons-interval-a-share"


def test_the_glossary_is_read_with_its_other_names():
    path = ROOT / "nbs" / "reference" / "glossary.ipynb"
    entries = {
        name: (anchor, meaning)
        for name, anchor, meaning in read_glossary(
            notebooks.read_notebook(path, "reference/glossary.ipynb")
        )
    }
    assert entries["folds"][0] == "cross-validation" and entries["T waves"][0] == "t-wave"
    assert all(meaning.endswith((".", ":")) for _, meaning in entries.values())


def test_the_command_says_what_is_wrong_and_exits_with_1(tmp_path):
    code = "import docs.__main__ as m, docs.notebooks as n\ndef fail(*a): raise n.Refused('guides/a.ipynb', 4, 'a Quarto shortcode')\nm.build = fail\nraise SystemExit(m.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--out", str(tmp_path / "x")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert (
        done.returncode == 1
        and done.stderr.startswith("guides/a.ipynb, cell 4: a Quarto shortcode")
        and "Traceback" not in done.stderr
    )


# Limits of a cell, and interrupts


@pytest.mark.parametrize("kernel", [False, True])
def test_a_cell_that_works_too_long_is_given_up_with_its_children(tmp_path, monkeypatch, kernel):
    monkeypatch.setenv("CLFNB_CELL_SECONDS", "2")
    source = "import subprocess, sys\nchild = subprocess.Popen([sys.executable, '-c', 'while True: pass'])\n_ = open('child', 'w').write(str(child.pid))"
    path = write_notebook(tmp_path / "busy.ipynb", ("code", source), ("code", "while True: pass"))
    passed, _, error = execute.run_notebook(path, tmp_path / "kept", kernel=kernel)
    assert not passed and re.search(r"busy\.ipynb, cell 2:", error)
    assert "given up after" in error and "of CPU time" in error
    child = int((tmp_path / "child").read_text())
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("kernel", [False, True])
def test_waiting_costs_a_cell_nothing(tmp_path, monkeypatch, kernel):
    monkeypatch.setenv("CLFNB_CELL_SECONDS", "2")
    path = write_notebook(tmp_path / "a.ipynb", ("code", "import time\ntime.sleep(3)"))
    assert execute.run_notebook(path, None, kernel=kernel)[0]


def test_a_kernel_ends_with_its_notebook(tmp_path):
    before = set(psutil.Process().children(recursive=True))
    for source in ("1 + 1", "1 / 0"):
        path = write_notebook(tmp_path / "a.ipynb", ("code", source))
        passed, _, error = execute.run_notebook(path, None, kernel=True)
        assert passed == (source == "1 + 1") and ("ZeroDivisionError" in error) == (not passed)
    assert not [p for p in set(psutil.Process().children(recursive=True)) - before if p.is_running()]  # fmt: skip


def test_a_notebook_leaves_nothing_in_the_process_that_executed_it(tmp_path, monkeypatch):
    "Neither what it made nor work for the end of the process, which executes a hundred of them."
    source = "import builtins, weakref\nclass Large: pass\nlarge = Large()\nbuiltins.seen_large = weakref.ref(large)"
    at_exit, main = [], sys.modules["__main__"]
    monkeypatch.setattr(atexit, "register", lambda f, *a, **k: at_exit.append(f))
    monkeypatch.setattr(atexit, "unregister", at_exit.remove)
    for failing in ("", "\n1 / 0"):
        path = write_notebook(tmp_path / "a.ipynb", ("code", source + failing))
        assert execute.run_notebook(path, None)[0] == (not failing)
        assert builtins.seen_large() is None and sys.modules["__main__"] is main
        assert [f for f in at_exit if "IPython" in f.__module__] == []
    del builtins.seen_large


def test_what_a_notebook_leaves_for_the_end_is_done_at_its_end(tmp_path):
    "In the process that executed it its names would be gone."
    source = "import atexit\nfrom pathlib import Path\n@atexit.register\ndef leave(): Path('left').write_text('by its end')"
    for failing in ("", "\n1 / 0"):
        path = write_notebook(tmp_path / "a.ipynb", ("code", source + failing))
        register = atexit.register
        assert execute.run_notebook(path, None)[0] == (not failing)
        assert (tmp_path / "left").read_text() == "by its end" and atexit.register is register
        (tmp_path / "left").unlink()


def test_the_engine_of_a_notebook_does_not_outlive_it(tmp_path):
    "Its names are gone after the notebook; the next one that starts a run would use it."
    from clfnb.runs.engine import LimitedEngine, papermill_engines

    source = "from clfnb.runs.engine import LimitedEngine, papermill_engines\nclass Own(LimitedEngine): pass\npapermill_engines.register('clfnb', Own)"
    for failing in ("", "\n1 / 0"):
        path = write_notebook(tmp_path / "a.ipynb", ("code", source + failing))
        assert execute.run_notebook(path, None)[0] == (not failing)
        assert papermill_engines.get_engine("clfnb") is LimitedEngine


def test_a_cell_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setenv("CLFNB_CELL_SECONDS", "0.5")
    source = "import time\nwhile True:\n    time.sleep(0.1)"
    path = write_notebook(tmp_path / "a.ipynb", ("code", source))
    passed, _, error = execute.run_notebook(path, None)
    assert not passed and "given up after" in error


@pytest.mark.skipif(sys.platform == "win32", reason="jobs in the background are a matter of POSIX")
def test_notebooks_heed_interrupts_although_the_builder_runs_in_the_background(tmp_path):
    "A shell starts its background jobs with SIGINT ignored; processes that a notebook starts must not inherit that."
    source = "import signal, subprocess, sys\nask = 'import signal; print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)'\nassert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN\nassert subprocess.check_output([sys.executable, '-c', ask], text=True).strip() == 'False'"
    path = write_notebook(tmp_path / "a.ipynb", ("code", source))
    script = f"import signal\nfrom pathlib import Path\nfrom docs import execute\nexecute.NBS = Path({str(tmp_path)!r})\nif __name__ == '__main__':\n    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN\n    execute.execute_all([Path({str(path)!r})], Path({str(tmp_path / 'kept')!r}))\n"
    (tmp_path / "build.py").write_text(script)
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", sys.executable, str(tmp_path / "build.py")],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
