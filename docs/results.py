"""The commands and the tables of the pages of results: list them, run those of a section, and compare what they write with what the pages show.

python -m docs.results                          lists section and command
python -m docs.results barcodes                 runs the commands of the sections with that word in their heading or in the folder of their tables
python -m docs.results plankton FOLDER=images   the same, with a value for a place in capitals
python -m docs.results barcodes --compare       runs nothing, and compares the tables that lie in build/results/
python -m docs.results barcodes --write         runs the commands, and puts the new tables in place of the old (with --compare: runs nothing)

What a command prints goes to build/results/, a file for each, and to the screen; its tables go to build/results/ too. A command whose data are not
here, or that still has a place in capitals, is passed over and named. Needs nothing but the standard library.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from docs.tables import NAMED, Table, compare, replace

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("results", "results_calibration")
NEW = Path("build", "results")  # where the commands write output and tables
TOOLS = r"(?:OMP_NUM_THREADS=1 )?(?:python |papermill |clfnb (?:run|predict)|for )"
LINE = re.compile(rf"^    ({TOOLS}.+)$", flags=re.M)
INLINE = re.compile(rf"`({TOOLS}(?=[^`]*(?: -|\.py))[^`]+)`")
OPEN = re.compile(r"(?<![\w$/.])(?:[A-Z][A-Z_]+)(?![\w.=])")  # FOLDER, RUN; not $CLFNB_DATA
DATA = re.compile(r"\$CLFNB_DATA/([\w/]+)|-p data[ =](?!simulated)(\w+)")
FILE = re.compile(r"(?:--weights|-p weights)[ =]([\w./-]+\.npz)")


@dataclass(frozen=True)
class Command:
    "A command of a page; `number` counts within its section, from 1."

    section: str
    number: int
    text: str

    @property
    def file(self) -> Path:
        "Where its output goes."
        words = re.sub(r"\W+", "-", self.section.lower()).strip("-")
        return ROOT / "build" / "results" / f"{words[:60]}-{self.number}.txt"


def sections(page: str) -> dict[str, tuple[str, str]]:
    "Heading → prose and code of the section, in the order of a page; what stands above the first one has the page's name."
    path = ROOT / "nbs" / "reference" / f"{page}.ipynb"
    found, heading = {page: ["", ""]}, page
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] != "markdown":
            found[heading][1] += f"\n{text}\n"
            continue
        for part in re.split(r"^(?=## )", text, flags=re.M):
            if named := re.match(r"## (.+)", part):
                heading = named[1]
            found.setdefault(heading, ["", ""])[0] += f"\n{part}\n"
    return {name: (prose, code) for name, (prose, code) in found.items()}


def commands(page: str) -> list[Command]:
    "The commands of one page, in its order."
    listed: list[Command] = []
    for section, (prose, _) in sections(page).items():
        texts = sorted((m.start(), m[1]) for m in [*LINE.finditer(prose), *INLINE.finditer(prose)])
        unique = list(dict.fromkeys(text for _, text in texts))
        listed += [Command(section, number, text) for number, text in enumerate(unique, 1)]
    return listed


def tables(page: str) -> list[Table]:
    "The tables that a page shows, in its order."
    root = ROOT / "nbs" / "reference" / "results"
    return [
        Table(section, name, root)
        for section, (_, code) in sections(page).items()
        for name in NAMED.findall(code)
    ]


def obstacle(command: str, data: Path | None) -> str:
    "Why a command cannot be run here; empty if it can."
    if places := OPEN.findall(command):
        return f"say what {', '.join(dict.fromkeys(places))} is, as in {places[0]}=..."
    named = ["".join(groups) for groups in DATA.findall(command)]
    missing = [name for name in named if not data or not (data / name).exists()]
    if missing := [name for name in missing if not (ROOT / name).exists()]:
        return f"not in $CLFNB_DATA: {', '.join(missing)}"
    files = [name for name in FILE.findall(command) if not (ROOT / name).is_file()]
    return f"no file of weights here: {', '.join(files)}" if files else ""


def filled(command: str, values: dict[str, str]) -> str:
    "A command with values for its places in capitals."
    return OPEN.sub(lambda place: values.get(place[0], place[0]), command)


def run(command: Command, text: str) -> int:
    "Run a command from the root of the repository; its exit status. What it prints is kept."
    command.file.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    with command.file.open("w", encoding="utf-8") as file:
        file.write(f"$ {text}\n")
        process = subprocess.Popen(
            ["bash", "-c", text],
            cwd=ROOT,
            env=os.environ | {"PATH": path},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for line in process.stdout:
            file.write(line)
            print(line, end="", flush=True)
    return process.wait()


def chosen(asked: str) -> tuple[list[Command], list[Table]]:
    "Commands and tables of the sections with some words in their heading or in the folder of their tables."
    shown = [table for page in PAGES for table in tables(page)]
    names = {c.section for page in PAGES for c in commands(page)} | {t.section for t in shown}
    text = {
        name: f"{name} {' '.join(t.folder for t in shown if t.section == name)}".lower()
        for name in names
    }
    wanted = {name for name in names if asked in text[name]}
    listed = [c for page in PAGES for c in commands(page) if c.section in wanted]
    return listed, [table for table in shown if table.section in wanted]


def run_all(
    listed: list[Command], shown: list[Table], values: dict[str, str], only_list: bool
) -> int:
    "Name the commands and run those that can be run; how many failed. Tables that one is to write are removed first."
    data = Path(os.environ["CLFNB_DATA"]) if os.environ.get("CLFNB_DATA") else None
    failed = 0
    for command in listed:
        text = filled(command.text, values)
        why = obstacle(text, data)
        print(f"{command.section}\n    {text}\n{f'    ({why})' if why else ''}".rstrip() + "\n")
        if only_list or why:
            continue
        for table in shown:
            if table.about.get("command") == command.text:
                (ROOT / NEW / f"{table.name}.csv").unlink(missing_ok=True)
        failed += run(command, text) != 0
        print(f"→ {command.file.relative_to(ROOT)}\n")
    return failed


def main(words: list[str]) -> int:
    "List the commands, or run those of a section and compare their tables; 1 if one of them failed or none was found."
    flags = {word for word in words if word.startswith("--")}
    if unknown := flags - {"--compare", "--write"}:
        print(
            f"unknown option {sorted(unknown)[0]}: expected --compare or --write", file=sys.stderr
        )
        return 2
    rest = [word for word in words if word not in flags]
    values = dict(word.split("=", 1) for word in rest if "=" in word)
    asked = " ".join(word for word in rest if "=" not in word).lower()
    listed, shown = chosen(asked)
    if not listed and not shown:
        print(f"no section of the results with {asked!r} in its heading", file=sys.stderr)
        return 1
    failed = 0 if "--compare" in flags else run_all(listed, shown, values, not asked)
    if not asked and not flags:
        return 0
    for table in shown:
        print("\n".join(compare(table, ROOT / NEW)))
        if "--write" in flags and replace(table, ROOT / NEW):
            print(f"→ {table.file.relative_to(ROOT)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
