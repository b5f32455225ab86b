"""Downloads against a server on this computer that cuts the line, ignores Range, sends wrong bytes, is busy, or is slow."""

import errno
import hashlib
import os
import re
import socketserver
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest

from clfnb.data import catalog, download
from clfnb.data.download import DownloadError, Unfinished, fetch, fetch_all

CONTENT = b"".join(
    hashlib.sha256(str(i).encode()).digest() for i in range(12_000)
)  # 384,000 bytes that never repeat
DIGITS = hashlib.sha256(CONTENT).hexdigest()
QUICK = {"pause": 0.001, "progress": False}


class Server(ThreadingHTTPServer):
    """What to do is set on the server: `files` name → bytes, and the faults below."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests, self.sent = {"file.bin": CONTENT}, [], 0
        self.cut = None  # bytes after which the line is cut, in each answer
        self.cuts = 10**9  # how often
        self.ranges = True  # whether Range is obeyed
        self.length = True  # whether the length is said
        self.errors = []  # status codes of the next answers
        self.hang = threading.Event()  # while not set, an answer hangs before its first byte
        self.hang.set()
        self.lock = threading.Lock()
        self.headers_more = {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        wish = self.headers.get("Range")
        with server.lock:
            server.requests.append((name, wish))
            error = server.errors.pop(0) if server.errors else None if name in server.files else 404
        if error:
            self.send_response(error)
            for key, value in server.headers_more.items():
                self.send_header(key, value)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        content = server.files[name]
        start = int(wish[6:-1]) if wish and server.ranges else 0
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        self.send_response(206 if wish and server.ranges else 200)
        if wish and server.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if server.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.send_body(content[start:])

    def send_body(self, body):
        server = self.server
        with server.lock:
            cut = server.cut if server.cuts > 0 else None
            server.cuts -= cut is not None
        body = body[:cut]
        if not server.hang.is_set():
            server.hang.wait(30)
            return
        with server.lock:
            server.sent += len(body)
        self.wfile.write(body)


@pytest.fixture
def server():
    server = Server()
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    yield server
    server.hang.set()
    server.shutdown()
    server.server_close()


def get_file(server, folder, **options):
    return fetch(
        server.url + "file.bin", folder / "file.bin", **({"sha256": DIGITS} | QUICK | options)
    )


def files_in(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".download.lock"
    )


def test_a_cut_line_is_taken_up_where_it_was_cut(server, tmp_path):
    server.cut = 100_000
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert [wish for _, wish in server.requests] == [
        None,
        "bytes=100000-",
        "bytes=200000-",
        "bytes=300000-",
    ]
    assert server.sent == len(CONTENT)
    assert files_in(tmp_path) == ["file.bin"]


def test_a_line_that_stays_cut_keeps_its_part_for_another_day(server, tmp_path):
    server.cut, server.cuts = 150_000, 1
    original = download._request

    def only_once(transfer, start):
        if start:
            raise ConnectionResetError("Connection reset by peer")
        return original(transfer, start)

    download._request = only_once
    try:
        with pytest.raises(
            Unfinished,
            match=r"file\.bin: given up after 3 attempts without progress: .*Connection reset",
        ):
            get_file(server, tmp_path, tries=3)
    finally:
        download._request = original
    assert files_in(tmp_path) == ["file.bin.part"]
    get_file(server, tmp_path)
    assert server.sent == len(CONTENT)
    assert files_in(tmp_path) == ["file.bin"]


def test_a_server_that_ignores_range_sends_all_again(server, tmp_path):
    server.cut, server.cuts, server.ranges = 100_000, 2, False
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == 2 * 100_000 + len(CONTENT)


def test_a_complete_part_answered_416_is_only_verified(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == 0


def test_a_part_that_is_too_long_begins_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    assert get_file(server, tmp_path).read_bytes() == CONTENT


def test_a_part_of_another_file_begins_anew(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert [wish for _, wish in server.requests] == ["bytes=1000-", None]


@pytest.mark.parametrize("code", [401, 403, 404, 204])
def test_a_refused_rest_keeps_its_part(server, tmp_path, code):
    "A server that wants a login for a while: another call sends only what is missing."
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:300_000])
    server.errors = [code] * 2
    with pytest.raises(DownloadError, match=rf"file\.bin: the server answers {code}"):
        get_file(server, tmp_path)
    assert [wish for _, wish in server.requests] == ["bytes=300000-", None]
    assert files_in(tmp_path) == ["file.bin.part"]
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == len(CONTENT) - 300_000 and files_in(tmp_path) == ["file.bin"]


def test_a_rest_that_is_refused_after_a_cut_keeps_its_part(server, tmp_path):
    server.cut, server.cuts, server.errors = 100_000, 1, [None, 403, 403]
    with pytest.raises(DownloadError, match="the server answers 403"):
        get_file(server, tmp_path)
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:100_000]
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert server.sent == len(CONTENT)


@pytest.mark.parametrize("kind", ["certificate", "redirect"])
def test_a_refused_connection_keeps_its_part(server, tmp_path, monkeypatch, kind):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:300_000])
    server.errors, server.headers_more = [302] * 2, {"Location": "http://[::1"}
    if kind == "certificate":

        def refuse(transfer, start):
            error = ssl.SSLCertVerificationError(1, "certificate verify failed")
            error.verify_message = "certificate has expired"
            raise URLError(error)

        monkeypatch.setattr(download, "_request", refuse)
    with pytest.raises(DownloadError, match="certificate is not valid|another kind of address"):
        get_file(server, tmp_path)
    assert files_in(tmp_path) == ["file.bin.part"]
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:300_000]


@pytest.mark.parametrize("sha256", [DIGITS, None])
def test_a_server_that_refuses_the_rest_is_asked_for_the_whole(server, tmp_path, sha256):
    server.cut, server.cuts, server.errors = 100_000, 1, [None, 403]
    assert get_file(server, tmp_path, sha256=sha256).read_bytes() == CONTENT
    assert [wish for _, wish in server.requests] == [None, "bytes=100000-", None]
    assert files_in(tmp_path) == ["file.bin"]


def test_the_longer_of_two_parts_is_kept(server, tmp_path):
    "The whole file is sent after a refusal, and cut again."
    for length, kept in ((1000, 50_000), (70_000, 70_000)):
        (tmp_path / "file.bin.part").write_bytes(CONTENT[:length])
        server.cut, server.cuts, server.errors = 50_000, 1, [403, None, 503, 503]
        with pytest.raises(Unfinished, match="the server answers 503"):
            get_file(server, tmp_path, tries=2)
        assert files_in(tmp_path) == ["file.bin.part"]
        assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:kept]


def test_wrong_bytes_in_place_of_a_refused_rest_keep_the_part(server, tmp_path):
    "They were not added to it."
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:1000])
    server.errors, server.files["file.bin"] = [403], b"y" + CONTENT[1:]
    with pytest.raises(DownloadError, match="not the published file"):
        get_file(server, tmp_path)
    assert files_in(tmp_path) == ["file.bin.part"]
    server.files["file.bin"] = CONTENT
    assert get_file(server, tmp_path).read_bytes() == CONTENT


def test_a_part_is_not_trusted_without_a_checksum(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"x" * 1000)
    assert get_file(server, tmp_path, sha256=None).read_bytes() == CONTENT


def test_wrong_bytes_leave_nothing(server, tmp_path):
    server.files["file.bin"] = b"y" + CONTENT[1:]
    with pytest.raises(
        DownloadError, match=f"not the published file: expected SHA-256 {DIGITS}, found "
    ):
        get_file(server, tmp_path)
    assert files_in(tmp_path) == []


def test_wrong_bytes_do_not_touch_the_file_that_is_there(server, tmp_path):
    (tmp_path / "file.bin").write_bytes(b"older")
    server.files["file.bin"] = b"y" + CONTENT[1:]
    with pytest.raises(DownloadError):
        get_file(server, tmp_path)
    assert (tmp_path / "file.bin").read_bytes() == b"older"


def test_404_ends_at_once(server, tmp_path):
    with pytest.raises(DownloadError, match=r"none\.bin: the server answers 404"):
        fetch(server.url + "none.bin", tmp_path / "none.bin", **QUICK)
    assert len(server.requests) == 1
    assert files_in(tmp_path) == []


def test_a_busy_server_is_asked_again(server, tmp_path):
    server.errors = [503, 500]
    assert get_file(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3


def test_a_server_that_stays_busy_is_given_up(server, tmp_path):
    server.errors = [503] * 99
    with pytest.raises(
        Unfinished, match="given up after 4 attempts without progress: the server answers 503"
    ):
        get_file(server, tmp_path, tries=4)
    assert len(server.requests) == 4


def test_retry_after_is_heeded(server, tmp_path, monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", lambda self, seconds=None: waits.append(seconds))
    server.errors, server.headers_more = [503], {"Retry-After": "7"}
    get_file(server, tmp_path)
    assert 7 in waits


def test_a_line_without_a_byte_counts_as_cut(server, tmp_path):
    server.hang.clear()
    with pytest.raises(Unfinished, match="given up after .* timed out"):
        get_file(server, tmp_path, limit=0.05, tries=2)
    server.hang.set()
    assert get_file(server, tmp_path).read_bytes() == CONTENT


@pytest.fixture
def dripping():
    "A server that sends an answer byte by byte, its headers too if it is told to."
    place = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Dripping)
    place.daemon_threads, place.told = True, b""
    threading.Thread(target=place.serve_forever, daemon=True).start()
    yield place
    place.shutdown()
    place.server_close()


class Dripping(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.recv(4096)
        self.request.sendall(self.server.told)
        try:
            for _ in range(10_000):
                self.request.sendall(b"x")
                time.sleep(0.05)
        except OSError:
            pass


@pytest.mark.parametrize(
    "told", [b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", b"HTTP/1.1 20"]
)
def test_a_server_that_drips_is_given_up(dripping, tmp_path, told):
    "Every byte comes before the limit for one byte; the file would take years."
    dripping.told = told
    url = f"http://127.0.0.1:{dripping.server_address[1]}/file.bin"
    with pytest.raises(Unfinished, match="given up after 2 attempts .* in [01]") as failed:
        fetch(url, tmp_path / "file.bin", DIGITS, tries=2, limit=0.5, **QUICK)
    assert url in str(failed.value) and not (tmp_path / "file.bin").exists()


def test_a_cut_that_the_server_hides_is_found_by_size(server, tmp_path):
    server.length, server.cut = False, 100_000
    with pytest.raises(DownloadError, match="expected 384000 bytes, found 100000"):
        get_file(server, tmp_path, size=len(CONTENT), sha256=None)
    assert files_in(tmp_path) == []


def test_a_redirect_to_a_file_is_refused(server, tmp_path):
    server.errors, server.headers_more = [302], {"Location": "file:///etc/hosts"}
    with pytest.raises((ValueError, DownloadError), match="file:///etc/hosts|302"):
        get_file(server, tmp_path)
    assert files_in(tmp_path) == []


def test_a_full_disk_is_seen_before(server, tmp_path, monkeypatch):
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})()
    )
    with pytest.raises(
        DownloadError, match=r"no room on the disk: 0\.4 MB needed, 0\.0 MB free"
    ) as caught:
        get_file(server, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert files_in(tmp_path) == []


def test_a_disk_that_fills_on_the_way_leaves_nothing(server, tmp_path, monkeypatch):
    class Full:
        def __init__(self, file):
            self.file, self.room = file, 100_000

        def write(self, data):
            taken = self.file.write(data[: self.room])
            self.room -= taken
            if not taken:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return taken

    write = download._write
    disks = {}
    monkeypatch.setattr(
        download,
        "_write",
        lambda file, chunk, part: write(disks.setdefault(part, Full(file)), chunk, part),
    )
    with pytest.raises(DownloadError, match="could not be written: No space left") as caught:
        get_file(server, tmp_path)
    assert caught.value.errno == errno.ENOSPC
    assert files_in(tmp_path) == []


def test_many_files_stop_at_the_first_that_cannot_be_had(server, tmp_path):
    server.files |= {f"{i}.bin": CONTENT for i in range(20)}
    files = [(f"{i}.bin", server.url + f"{i}.bin", DIGITS) for i in range(20)]
    files.insert(4, ("gone.bin", server.url + "gone.bin", DIGITS))
    with pytest.raises(DownloadError, match=r"gone\.bin: the server answers 404"):
        fetch_all(files, tmp_path, workers=3, **QUICK)
    assert all(
        (tmp_path / name).read_bytes() == CONTENT
        for name in files_in(tmp_path)
        if not name.endswith(".part")
    )


def test_plain_lines_where_there_is_no_terminal(server, tmp_path, capsys):
    server.files |= {f"{i}.bin": b"x" for i in range(20)}
    fetch_all(
        [(f"{i}.bin", server.url + f"{i}.bin", None) for i in range(20)], tmp_path, what="little"
    )
    said = capsys.readouterr().err
    assert said.splitlines() == [f"little: {2 * i} of 20 files" for i in range(1, 11)]
    assert "\r" not in said


def put_qtdb(server, records=("sel1", "sel2", "sel3")):
    "A small QTDB on the server, with a file that is not wanted."
    files = {"RECORDS": "".join(f"{record}\n" for record in records).encode()}
    for i, record in enumerate(records):
        files |= {
            f"{record}.hea": f"{record} 2 250 1000\n".encode(),
            f"{record}.dat": CONTENT[1000 * i :],
            f"{record}.q1c": b"q" * (i + 1),
            f"{record}.pu": b"not wanted",
        }
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()
    )
    server.files |= files | {"SHA256SUMS.txt": sums.encode()}
    return files


@pytest.fixture
def place(tmp_path, monkeypatch, server):
    monkeypatch.setenv("CLFNB_DATA", str(tmp_path))
    monkeypatch.setenv("CLFNB_QTDB_URL", server.url)
    return tmp_path


def test_a_whole_data_set(server, place):
    files = put_qtdb(server)
    server.cut = 150_000
    folder = catalog.get("qtdb", download=True, pause=0.001)
    assert folder == place / "qtdb"
    assert files_in(folder) == sorted(
        [name for name in files if not name.endswith(".pu")] + ["SHA256SUMS.txt"]
    )
    assert all(
        (folder / name).read_bytes() == content
        for name, content in files.items()
        if not name.endswith(".pu")
    )
    assert catalog.verify_dataset("qtdb") == []
    asked = len(server.requests)
    assert catalog.get("qtdb", download=True) == folder == catalog.resolve("qtdb", "ecg")
    assert len(server.requests) == asked


def test_a_data_set_that_was_interrupted_goes_on(server, place):
    files = put_qtdb(server)
    missing = server.files.pop("sel3.dat")
    with pytest.raises(DownloadError, match=r"sel3\.dat: the server answers 404"):
        catalog.get("qtdb", download=True, pause=0.001)
    with pytest.raises(FileNotFoundError, match=r"RECORDS: missing.*clfnb data get qtdb"):
        catalog.get("qtdb")
    here = {name for name in files_in(place / "qtdb") if not name.endswith((".part", ".txt"))}
    server.files["sel3.dat"] = missing
    server.requests.clear()
    catalog.get("qtdb", download=True, pause=0.001)
    asked = {name for name, _ in server.requests}
    assert asked & here == set()
    assert asked | here == {name for name in files if not name.endswith(".pu")} | {"SHA256SUMS.txt"}


def test_two_at_once_download_once(server, place):
    put_qtdb(server)
    results = []
    threads = [
        threading.Thread(
            target=lambda: results.append(catalog.get("qtdb", download=True, pause=0.001))
        )
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(300)
    assert results == [place / "qtdb"] * 3
    assert sorted(server.requests) == sorted(set(server.requests))


def test_a_checksum_file_cannot_write_elsewhere(server, place):
    put_qtdb(server)
    server.files["SHA256SUMS.txt"] += f"{DIGITS}  ../../escaped.dat\n".encode()
    with pytest.raises(
        ValueError,
        match=r"SHA256SUMS\.txt, line 14: the name '\.\./\.\./escaped\.dat' does not stay inside",
    ):
        catalog.get("qtdb", download=True, pause=0.001)
    assert files_in(place) == []


def test_a_changed_file_on_the_server(server, place):
    put_qtdb(server)
    server.files["sel2.q1c"] = b"changed"
    with pytest.raises(DownloadError, match=r"sel2\.q1c: not the published file"):
        catalog.get("qtdb", download=True, pause=0.001)
    assert "sel2.q1c" not in files_in(place / "qtdb") and "RECORDS" not in files_in(place / "qtdb")


def test_a_full_disk_before_a_data_set(server, place, monkeypatch):
    put_qtdb(server)
    monkeypatch.setattr(
        download.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1_000_000})()
    )
    with pytest.raises(DownloadError, match="no room on the disk: .* needed, 1.0 MB free"):
        catalog.get("qtdb", download=True, pause=0.001)
    assert [name for name, _ in server.requests] == ["SHA256SUMS.txt"]


def test_a_damaged_copy_is_named(server, place):
    put_qtdb(server)
    folder = catalog.get("qtdb", download=True, pause=0.001)
    (folder / "sel1.dat").write_bytes(CONTENT[:-1])
    (folder / "sel2.q1c").unlink()
    assert [problem.split(" (")[0] for problem in catalog.verify_dataset("qtdb")] == [
        "sel1.dat: changed",
        "sel2.q1c: missing",
    ]
    catalog.get("qtdb", download=True, pause=0.001)
    assert catalog.verify_dataset("qtdb") == []


def test_simulated_data_are_written_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setenv("CLFNB_DATA", str(tmp_path / "shared"))
    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path))
    few = {"records": 2, "seconds": 20}
    folder = catalog.resolve("simulated", "ecg", seed=3, **few)
    assert catalog.missing_files(catalog.DATASETS["qtdb"], folder) == []
    assert folder.parent == tmp_path / "simulated" and [
        path.name for path in folder.parent.iterdir()
    ] == [folder.name]
    written = folder.stat().st_mtime_ns
    assert (
        catalog.resolve("simulated", "ecg", seed=3, **few) == folder
        and folder.stat().st_mtime_ns == written
    )
    assert catalog.resolve("simulated", "ecg", seed=4, **few) != folder
    assert not (tmp_path / "shared").exists()


def test_a_failed_simulation_leaves_nothing(tmp_path, monkeypatch):
    from clfnb.simulate.ecg import records as ecg

    def write(folder, records=24, seconds=60, seed=0):
        folder.mkdir()
        (folder / "sim000.hea").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    monkeypatch.setenv("CLFNB_CACHE", str(tmp_path))
    monkeypatch.setattr(ecg, "write", write)
    with pytest.raises(OSError, match="No space left"):
        catalog.resolve("simulated", "ecg")
    assert files_in(tmp_path) == []


class Faulty(socketserver.BaseRequestHandler):
    "Reads a request, and lets the server's `fault` write the answer; without one, obeys `Range`."

    def handle(self):
        request = self.request.recv(65536).decode()
        wish = re.search(r"^Range: bytes=(\d+)-", request, re.M)
        start = int(wish[1]) if wish else 0
        self.server.starts.append(start)
        try:
            if self.server.fault:
                self.server.fault(self.request)
            else:
                bounds = f"{start}-{len(CONTENT) - 1}/{len(CONTENT)}"
                said = {"Content-Range": f"bytes {bounds}"} if start else {}
                answer(self.request, CONTENT[start:], "206 Rest" if start else "200 OK", **said)
        except OSError:  # the other side has hung up
            pass


def answer(line, body, status="200 OK", length=None, **headers):
    "Send an answer whose length may be another one."
    said = {"Content-Length": len(body) if length is None else length} | headers
    head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
    line.sendall(f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body)


@pytest.fixture
def faulty():
    place = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Faulty)
    place.daemon_threads, place.fault, place.starts, place.done = True, None, [], threading.Event()
    threading.Thread(target=place.serve_forever, args=(0.01,), daemon=True).start()
    yield place
    place.done.set()
    place.shutdown()
    place.server_close()


def one_byte_per_second(line):
    answer(line, CONTENT[:500], length=len(CONTENT))
    for byte in CONTENT[500:510]:
        time.sleep(1)
        line.sendall(bytes([byte]))


def silent_after_the_headers(line):
    answer(line, b"", length=len(CONTENT))
    time.sleep(5)


PAGE = b"<!doctype html><html><body>Please log in</body></html>"
NUMBERS = iter(range(10**9))
FAULTS = {
    "one byte per second": (one_byte_per_second, "timed out", 500),
    "silent after the headers": (silent_after_the_headers, "timed out", 0),
    "closed early": (
        lambda line: answer(line, CONTENT[:700], length=len(CONTENT)),
        "the line was cut after 700 of 384000 bytes",
        700,
    ),
    "closed at once": (lambda line: None, "closed connection without response", 0),
    "another protocol": (lambda line: line.sendall(b"SSH-2.0-x\r\n\x1b[2J\r\n"), "SSH-2.0-x", 0),
    "too long": (lambda line: answer(line, CONTENT + b"x", length=""), "expected SHA-256", 0),
    "a circle": (
        lambda line: answer(line, b"", "302 Found", Location="/file.bin"),
        "the server redirects in a circle, or too often",
        0,
    ),
    "redirects without end": (
        lambda line: answer(line, b"", "302 Found", Location=f"/{next(NUMBERS)}"),
        "the server redirects in a circle, or too often",
        0,
    ),
    "no address": (
        lambda line: answer(line, b"", "302 Found", Location="http://[::1"),
        "redirected to another kind of address",
        0,
    ),
    "other bytes": (lambda line: answer(line, b"y" + CONTENT[1:]), "expected SHA-256", 0),
    "a web page": (lambda line: answer(line, PAGE), "not the published file: expected SHA-256", 0),
    "an empty answer": (lambda line: answer(line, b"", "204 No Content"), "answers 204", 0),
    "a reason with escapes": (
        lambda line: answer(line, b"", "404 \x1b[2Jno"),
        r"the server answers 404 \x1b[2Jno",
        0,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_one_line_and_the_next_attempt_is_right(faulty, tmp_path, name):
    "The address is named, nothing is taken for the file, and what came is not asked for again."
    fault, said, kept = FAULTS[name]
    faulty.fault = fault
    url = f"http://127.0.0.1:{faulty.server_address[1]}/file.bin"
    place = tmp_path / "file.bin"
    quick = QUICK | {"limit": 0.3, "tries": 2}
    with pytest.raises(DownloadError) as failed:
        fetch(url, place, DIGITS, **quick)
    text = str(failed.value)
    assert url in text and said in text and text.isprintable()
    assert files_in(tmp_path) == (["file.bin.part"] if kept else [])
    faulty.fault, faulty.starts = None, []
    assert fetch(url, place, DIGITS, **QUICK).read_bytes() == CONTENT
    assert faulty.starts == [kept] and files_in(tmp_path) == ["file.bin"]


@pytest.mark.parametrize(
    "name", ["one byte per second", "silent after the headers", "closed early"]
)
def test_without_a_checksum_no_part_is_kept(faulty, tmp_path, name):
    "The next attempt could not trust it."
    faulty.fault = FAULTS[name][0]
    url = f"http://127.0.0.1:{faulty.server_address[1]}/file.bin"
    with pytest.raises(Unfinished, match=re.escape(url)):
        fetch(url, tmp_path / "file.bin", tries=2, limit=0.3, **QUICK)
    assert files_in(tmp_path) == []


def test_more_than_was_said_is_not_read(faulty, tmp_path):
    "The file ends where the server said; its checksum fits."
    faulty.fault = lambda line: answer(line, CONTENT + b"more", length=len(CONTENT))
    url = f"http://127.0.0.1:{faulty.server_address[1]}/file.bin"
    assert fetch(url, tmp_path / "file.bin", DIGITS, **QUICK).read_bytes() == CONTENT


def test_a_web_page_in_place_of_the_checksums(server, place):
    "A network that wants a login answers every address with its page."
    put_qtdb(server)
    server.files["SHA256SUMS.txt"] = PAGE
    with pytest.raises(ValueError, match=r"SHA256SUMS\.txt, line 1: expected a SHA-256") as failed:
        catalog.get("qtdb", download=True, pause=0.001)
    assert f"(from {server.url}SHA256SUMS.txt)" in str(failed.value)
    assert "wants a login" in str(failed.value) and files_in(place) == []
    put_qtdb(server)
    catalog.get("qtdb", download=True, pause=0.001)
    assert catalog.verify_dataset("qtdb") == []


BROKEN = {
    "a web page": (lambda lines: PAGE, "line 1: expected a SHA-256"),
    "half a line": (lambda lines: b"".join(lines)[:-40], r"expected a SHA-256|expected a line for"),
    "the first lines": (lambda lines: b"".join(lines[:6]), "expected a line for"),
    "nothing": (lambda lines: b"", "expected one line per file, found none"),
    "another list": (lambda lines: DIGITS.encode() + b"  x.txt", "expected a line for RECORDS"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_list_beside_complete_data(server, place, kind):
    "An earlier download left it there: the data are of use, the list is named, and can be had again."
    put_qtdb(server)
    folder = catalog.get("qtdb", download=True, pause=0.001)
    lines = (folder / "SHA256SUMS.txt").read_bytes().splitlines(keepends=True)
    change, said = BROKEN[kind]
    (folder / "SHA256SUMS.txt").write_bytes(change(sorted(lines, key=lambda x: b"sel" in x)))
    assert catalog.get("qtdb") == catalog.resolve("qtdb", "ecg") == folder
    try:
        problems = catalog.verify_dataset("qtdb")
    except ValueError as error:
        problems = [str(error)]
    assert len(problems) == 1 and re.search(said, problems[0])
    assert "SHA256SUMS.txt" in problems[0] and "clfnb data get qtdb fetches" in problems[0]
    server.requests.clear()
    catalog.get("qtdb", download=True, pause=0.001)
    assert [name for name, _ in server.requests] == ["SHA256SUMS.txt"]
    assert catalog.verify_dataset("qtdb") == []


def test_a_web_page_in_place_of_the_index(server, place):
    "Its words are no records; some of them look like paths outside the folder."
    put_qtdb(server)
    folder = catalog.get("qtdb", download=True, pause=0.001)
    for page in (PAGE, b"<a href='/login' /> ../up"):
        (folder / "RECORDS").write_bytes(page)
        with pytest.raises(
            FileNotFoundError,
            match="RECORDS.*clfnb data get qtdb fetches it|missing.*clfnb data get qtdb fetches it",
        ):
            catalog.get("qtdb")
        catalog.get("qtdb", download=True, pause=0.001)
        assert catalog.verify_dataset("qtdb") == []


def test_an_address_that_is_none_is_named(monkeypatch, place):
    monkeypatch.setenv("CLFNB_QTDB_URL", "http://[::1/")
    with pytest.raises(ValueError, match=r"http://\[::1/: expected an address that begins with"):
        catalog.get("qtdb", download=True)
