import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmbatch.atomic import replacing, write_bytes, write_text
from llmbatch.errors import StorageError


def may_mount() -> bool:
    return (
        shutil.which("unshare") is not None and subprocess.run(["unshare", "-m", "true"], check=False).returncode == 0
    )


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


def test_writes_into_new_private_folders_whatever_the_umask(tmp_path: Path, umask: None) -> None:
    write_text(tmp_path / "results" / "tag" / "a.txt", "grün")
    assert (tmp_path / "results/tag/a.txt").read_bytes() == "grün".encode()
    assert mode(tmp_path / "results") == mode(tmp_path / "results/tag") == 0o700
    assert mode(tmp_path / "results/tag/a.txt") == 0o600


def test_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a"
    for content in (b"old and long", b"new"):
        write_bytes(path, content)
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    write_text(tmp_path / "a", "")
    assert mode(tmp_path) == 0o755


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_a_fault_in_the_block_leaves_the_older_file(tmp_path: Path, fault: type[BaseException]) -> None:
    path = tmp_path / "a"
    write_text(path, "older")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            file.flush()
            raise fault

    with pytest.raises(fault):
        write_half()
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


def test_the_reader_sees_the_older_file_until_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "older")
    with replacing(path) as file:
        file.write(b"newer")
        file.flush()
        assert path.read_text() == "older"
    assert path.read_text() == "newer"


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    path = tmp_path / "re[s]ults.jsonl"
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = {pid: tmp_path / f".re[s]ults.jsonl.{pid}.tmp" for pid in (dead.pid, 2**70, os.getppid(), 1, os.getpid())}
    for name in names.values():
        name.write_text("half")
    others = [tmp_path / f".other.{dead.pid}.tmp", tmp_path / ".re[s]ults.jsonl.x.tmp"]
    for name in others:
        name.write_text("no leftover of this file")
    write_text(path, "whole")
    assert set(tmp_path.iterdir()) == {path, names[os.getppid()], names[1], *others}


def test_follows_the_users_own_link(tmp_path: Path) -> None:
    elsewhere = tmp_path / "big disk" / "a"
    write_text(elsewhere, "older")
    link = tmp_path / "a"
    link.symlink_to(elsewhere)
    write_text(link, "newer")
    assert link.is_symlink()
    assert elsewhere.read_text() == "newer"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a link to somebody else")
def test_refuses_somebody_elses_link(tmp_path: Path) -> None:
    victim, link = tmp_path / "victim", tmp_path / "a"
    victim.write_text("precious")
    link.symlink_to(victim)
    os.chown(link, 65534, 65534, follow_symlinks=False)
    with pytest.raises(StorageError, match="another user"):
        write_text(link, "x")
    assert victim.read_text() == "precious"


def test_refuses_what_is_no_regular_file(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("folder", "pipe"):
        with pytest.raises(StorageError, match=name):
            write_text(tmp_path / name, "x")
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", "pipe"}


def test_says_what_to_do_when_the_folder_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cannot write into .*/file: ") as caught:
        write_text(tmp_path / "file" / "a", "x")
    assert caught.value.exit_code == 74
    assert caught.value.hint


CHILD = """
import sys, resource
from pathlib import Path
from llmbatch.atomic import replacing
from llmbatch.errors import StorageError
"""


def child(code: str, *args: str, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [*under, sys.executable, "-c", CHILD + textwrap.dedent(code), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_file_that_may_not_grow_leaves_the_older_one(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "older")
    code = """
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        with replacing(Path(sys.argv[1])) as file:
            file.write(bytes(1_000_000))
    except StorageError as error:
        print(error.message, error.hint)
    """
    done = child(code, str(path))
    assert "File too large" in done.stdout, done.stderr
    assert "run the same command again" in done.stdout
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not may_mount(), reason="needs the right to mount a small disk")
def test_a_full_disk_leaves_the_older_file(tmp_path: Path) -> None:
    code = """
    import subprocess
    folder = Path(sys.argv[1])
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    path = folder / "a"
    path.write_text("older")
    try:
        with replacing(path) as file:
            file.write(bytes(2_000_000))
    except StorageError as error:
        print(error.message, "|", error.hint, "|", path.read_text(), "|", len(list(folder.iterdir())))
    """
    done = child(code, str(tmp_path), under=("unshare", "-m"))
    assert "No space left on device" in done.stdout, done.stderr
    assert "free some space" in done.stdout
    assert done.stdout.strip().endswith("| older | 1")


def test_kill_in_the_middle_leaves_the_older_file_and_the_next_write_cleans_up(tmp_path: Path) -> None:
    path = tmp_path / "a"
    write_text(path, "older")
    code = """
    import os, signal
    with replacing(Path(sys.argv[1])) as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert child(code, str(path)).returncode == -signal.SIGKILL
    assert path.read_text() == "older"
    assert len(list(tmp_path.iterdir())) == 2
    write_text(path, "newer")
    assert path.read_text() == "newer"
    assert list(tmp_path.iterdir()) == [path]
