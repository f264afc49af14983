"""Files that appear whole or not at all, and that only their owner can read.

A new file is written beside its target (``.NAME.PID.tmp``), synced, and takes the target's place in one rename. After
a fault the older file stands untouched.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from llmbatch.errors import StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_BUFFER = 256 * 1024
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP}  #: some network and FUSE file systems


@contextmanager
def replacing(path: Path, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends well, and is removed when it does not.

    Makes the folder if need be (0700); the file has ``mode`` whatever the umask. Removes what killed processes left
    behind. Symbolic links of the user's own, and root's, are followed. Raises StorageError for every OSError, in the
    block too, and when somebody else's link is on the way, or ``path`` is no regular file.
    """
    try:
        target = _target(path)
        private_folder(target.parent)
        _remove_leftovers(target)
        new = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        new.unlink(missing_ok=True)
        try:
            with os.fdopen(
                os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", _BUFFER
            ) as file:
                os.fchmod(file.fileno(), mode)
                yield file
                file.flush()
                os.fsync(file.fileno())
            new.replace(target)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)
    except OSError as error:
        raise _storage_error(path.parent, error) from error


def write_bytes(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace a file by ``content``, whole or not at all. Raises StorageError."""
    with replacing(path, mode=mode) as file:
        file.write(content)


def write_text(path: Path, text: str) -> None:
    """Replace a file by ``text`` as UTF-8, whole or not at all. Raises StorageError."""
    write_bytes(path, text.encode())


def private_folder(folder: Path) -> None:
    """Make a folder, and the folders above it, for the owner only; one that is there stays as it is. Raises OSError."""
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)


def foreign_link(path: Path) -> Path | None:
    """The first link on the way to ``path``, itself included, that belongs to another user than root or this one."""
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow the links
    for step in (*reversed(whole.parents), whole):
        if step.is_symlink() and step.lstat().st_uid not in (os.geteuid(), 0):
            return step
    return None


def _target(path: Path) -> Path:
    """The file to replace: ``path``, or what it links to."""
    if (link := foreign_link(path)) is not None:
        raise StorageError(f"{link}: is a link that belongs to another user", hint="remove it, or write elsewhere")
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.exists() and not stat.S_ISREG(path.stat().st_mode):
        raise StorageError(f"{path}: is there and is no regular file", hint="remove it, or write elsewhere")
    return path


def _remove_leftovers(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.tmp")
    with os.scandir(target.parent) as entries:
        for entry in entries:
            if (found := name.fullmatch(entry.name)) and not alive(int(found[1])):
                Path(entry.path).unlink(missing_ok=True)


def alive(pid: int) -> bool:
    """Whether a process of this machine runs."""
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):  # gone, or no pid at all
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    """Make the rename last through a power cut."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
    finally:
        os.close(number)


def _storage_error(folder: Path, error: OSError) -> StorageError:
    """The folder is named, not the file: a block may write other files too."""
    hint = "check the disk and the path, then run the same command again"
    if error.errno in _FULL:
        hint = "free some space (or lift the limit) and run the same command again: nothing paid for is lost"
    elif error.errno in _FORBIDDEN:
        hint = "mend the folder's permissions, or write to another folder"
    return StorageError(f"cannot write into {folder}: {error.strerror or error}", hint=hint)
