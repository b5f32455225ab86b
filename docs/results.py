"""The commands of the pages of results: list them, or run those of a section.

python docs/results.py                          lists section and command
python docs/results.py barcodes                 runs the commands of the sections with that word in their heading
python docs/results.py plankton FOLDER=images   the same, with a value for a place in capitals

What a command prints goes to build/results/, a file for each, and to the screen. A command whose data are not here, or that
still has a place in capitals, is passed over and named. Needs nothing but the standard library.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("results", "results_calibration")
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


def commands(page: str) -> list[Command]:
    "The commands of one page, in its order."
    path = ROOT / "nbs" / "reference" / f"{page}.ipynb"
    listed: list[Command] = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "markdown":
            continue
        for part in re.split(r"^(?=## )", "".join(cell["source"]), flags=re.M):
            heading = re.match(r"## (.+)", part)
            texts = sorted(
                (m.start(), m[1]) for m in [*LINE.finditer(part), *INLINE.finditer(part)]
            )
            section = heading[1] if heading else page
            unique = list(dict.fromkeys(text for _, text in texts))
            listed += [Command(section, number, text) for number, text in enumerate(unique, 1)]
    return listed


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


def main(words: list[str]) -> int:
    "List the commands, or run those of a section; 1 if one of them failed or none was found."
    values = dict(word.split("=", 1) for word in words if "=" in word)
    asked = " ".join(word for word in words if "=" not in word).lower()
    listed = [c for page in PAGES for c in commands(page) if asked in c.section.lower()]
    data = Path(os.environ["CLFNB_DATA"]) if os.environ.get("CLFNB_DATA") else None
    if not listed:
        print(f"no section of the results with {asked!r} in its heading", file=sys.stderr)
        return 1
    failed = 0
    for command in listed:
        text = filled(command.text, values)
        why = obstacle(text, data)
        print(f"{command.section}\n    {text}\n{f'    ({why})' if why else ''}".rstrip() + "\n")
        if asked and not why:
            failed += run(command, text) != 0
            print(f"→ {command.file.relative_to(ROOT)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
