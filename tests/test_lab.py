"JupyterLab itself, as `make lab` starts it: a lesson is opened, its parameters are changed, all of it is run, and a figure is seen."

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import browser
import pytest

why_not = browser.why_not()
pytestmark = pytest.mark.skipif(bool(why_not), reason=why_not or "-")
MINUTES = 8  # at most; less than two on two idle cores
SMALL = {
    "compare": "False",
    "pages": "1",
}  # what the lesson asserts of its model holds with the other defaults


def lab_command(folder: Path, port: int) -> list[str]:
    "The command of `make lab`, with another folder, another port and no browser of its own."
    line = re.search(
        r"^lab:.*\n\t@?(.+)$", (browser.ROOT / "Makefile").read_text("utf-8"), flags=re.M
    )[1]
    words = line.replace("$(BIN)/python", sys.executable).replace(
        "--notebook-dir=nbs", f"--notebook-dir={folder}"
    )
    more = f"--no-browser --port={port} --port-retries=0 --IdentityProvider.token=t --ServerApp.allow_root=True"
    return words.replace("$(ARGS)", more).split()


def small_lesson(target: Path) -> Path:
    "A copy of lesson 1 without its comparisons and with one page a PDF: parameters changed in their cell, as a reader would."
    source = browser.ROOT / "nbs" / "lessons" / "01_ecg_delineation.ipynb"
    notebook = json.loads(source.read_text("utf-8"))
    cell = next(
        cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])
    )
    text = "".join(cell["source"])
    for name, value in SMALL.items():
        text, found = re.subn(rf"^({name}: \w+ = )\S+", rf"\g<1>{value}", text, flags=re.M)
        assert found == 1, name
    cell["source"] = text.splitlines(keepends=True)
    target.write_text(json.dumps(notebook), encoding="utf-8")
    return target


@pytest.fixture
def lab(tmp_path):
    "A running server, its address and the folder that it shows."
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = tmp_path / "nbs"
    folder.mkdir()
    small_lesson(folder / "lesson.ipynb")
    home = {
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "CLFNB_RUNS": str(tmp_path / "runs"),
    }
    environment = (
        {key: value for key, value in os.environ.items() if key != "MPLBACKEND"}
        | home
        | {"OMP_NUM_THREADS": "1"}
    )
    with open(tmp_path / "log", "wb") as log:
        server = subprocess.Popen(
            lab_command(folder, port),
            cwd=browser.ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_for_server(server, port, tmp_path / "log")
        yield f"http://127.0.0.1:{port}", tmp_path
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(300)


def wait_for_server(server, port: int, log: Path) -> None:
    "Return when the server answers; fail with its log if it ends or takes more than five minutes."
    for _ in range(600):
        try:
            with urlopen(f"http://127.0.0.1:{port}/api?token=t", timeout=5):
                return
        except OSError:
            assert server.poll() is None, log.read_text("utf-8", "replace")[-2000:]
            time.sleep(0.5)
    pytest.fail(log.read_text("utf-8", "replace")[-2000:])


def wait_for_kernel(address: str) -> None:
    "Return when the notebook's kernel has been started, is connected to the page and does nothing."
    kernels = []
    for _ in range(600):
        try:
            with urlopen(f"{address}/api/kernels?token=t", timeout=300) as answer:
                kernels = json.load(answer)
        except HTTPError as error:  # the server answers 500 while a kernel is being replaced
            if error.code != 500:
                raise
        if any(kernel["execution_state"] == "idle" and kernel["connections"] for kernel in kernels):
            return
        time.sleep(0.5)
    pytest.fail(f"no kernel after five minutes: {kernels}")


def executed(path: Path) -> list[dict]:
    "The code cells of a notebook on disk."
    return [
        cell for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"
    ]


@pytest.mark.skipif(
    sys.platform == "win32" or shutil.which("sh") is None,
    reason="the server is ended as a group of processes",
)
def test_lesson_1_runs_in_jupyterlab(lab):
    address, folder = lab
    with browser.browser() as chromium:
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(300_000)
        page.goto(f"{address}/lab/tree/lesson.ipynb?token=t&reset")
        page.locator(".jp-Notebook .jp-CodeCell").first.wait_for()
        wait_for_kernel(address)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        page.locator(".jp-InputPrompt", has_text="[*]").first.wait_for()
        wait_until_done(page, folder / "nbs" / "lesson.ipynb")
        page.keyboard.press("Control+Home")
        assert page.locator(".jp-OutputArea-output img").count() or scroll_to_a_figure(page)
    cells = executed(folder / "nbs" / "lesson.ipynb")
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [
        (output["ename"], output["evalue"])
        for output in outputs
        if output["output_type"] == "error"
    ] == []
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 3
    assert list((folder / "runs").rglob("metrics.json")), "the lesson wrote its run record"


def wait_until_done(page, path: Path) -> None:
    "Save now and then, as a reader does, until the file says that every code cell has been executed; an error ends the wait."
    end = time.monotonic() + 60 * MINUTES
    while time.monotonic() < end:
        page.keyboard.press("Control+s")
        page.wait_for_timeout(3000)
        cells = executed(path)
        errors = [
            output
            for cell in cells
            for output in cell["outputs"]
            if output["output_type"] == "error"
        ]
        if errors or all(cell["execution_count"] for cell in cells):
            return
    pytest.fail(
        f"not done after {MINUTES} minutes: {sum(bool(cell['execution_count']) for cell in cells)} of {len(cells)} cells"
    )


def scroll_to_a_figure(page) -> bool:
    "Scroll down until a figure is on the screen, since JupyterLab draws only what is near it."
    page.locator(".jp-Notebook").first.hover()
    for _ in range(60):
        if page.locator(".jp-OutputArea-output img").count():
            return page.locator(".jp-OutputArea-output img").first.bounding_box()["height"] > 50
        page.mouse.wheel(0, 600)
        page.wait_for_timeout(200)
    return False
