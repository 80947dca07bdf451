"""What can be wrong with NSD's files, by name. Every message says what was expected, what was found and what to do.

`reading` wraps every place where a file is opened, so that locked, forbidden, missing and damaged files are told apart:
only a damaged one has to be fetched again.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path


class NsdError(ValueError):
    """Something about the NSD files, or about what was asked of them, is wrong; long messages are `shortened`."""

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(message))


class LayoutError(NsdError):
    """A name that NSD's layout does not have was asked for."""


class MissingFileError(NsdError, FileNotFoundError):
    """A file of NSD's layout is not there."""


class MissingSessionError(MissingFileError):
    """Sessions that were asked for have no betas on disk, or the design does not have them."""


class DamagedFileError(NsdError):
    """A file is cut short, or is not what its name says."""


class UnreadableFileError(NsdError, OSError):
    """A file is there and could not be read, through no fault of the file: rights, the disk, the network, memory."""


class LockedFileError(UnreadableFileError):
    """Another process holds a file, or a writer that crashed left it marked as open."""


class ShapeError(NsdError):
    """A file has another shape than the files it goes with: another subject's, swapped axes, or another version."""


class MixedRootsError(NsdError):
    """Files of one root disagree about the same trial or image, so they come from different data sets."""


class DesignError(NsdError):
    """The design file contradicts itself, or does not hold what was asked for."""


class RoiError(NsdError):
    """A region is not known, or its file does not hold labels."""


class NcsnrError(NsdError):
    """An ncsnr file holds values that cannot be noise-ceiling signal-to-noise ratios."""


class CaptionError(NsdError):
    """An image has no row in the stimulus table, or no caption in COCO's files."""


MESSAGE_LENGTH = 500
"""Characters of the longest message; paths, sessions and what a parser quotes of a file are cut in the middle."""

_LOCKED = {errno.EAGAIN, errno.EBUSY, errno.EDEADLK, errno.ENOLCK, errno.ETXTBSY}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_ABSENT = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
_DEVICE = {
    *(errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENXIO),
    *(errno.ECONNRESET, errno.ECONNREFUSED, errno.ENETDOWN, errno.ENETUNREACH, errno.ENODEV, errno.EREMOTEIO),
}
_FULL = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# What HDF5 says of a file that is open for writing in this or another process, or was left so by a crashed writer.
_HELD = ("unable to lock file", "already open for", "consistency flags")
# First bytes that tell what is there in place of the expected file.
_CONTENTS = (
    (b"\x1f\x8b", "it is compressed with gzip and must be unpacked"),
    (b"PK\x03\x04", "it is a zip archive"),
    (b"\x89HDF", "it is an HDF5 file"),
    (b"version https://git-lfs", "it is a Git LFS pointer, not the file itself"),
    (b"../.git/annex", "it is a git-annex pointer, not the file itself"),
    (b"/annex/objects", "it is a git-annex pointer, not the file itself"),
    (b"<", "it is a page or a message in HTML or XML, which a failed download leaves"),
    (b"\xff\xfe", "it is UTF-16 text"),
    (b"\xfe\xff", "it is UTF-16 text"),
)


def shortened(text: object, length: int = MESSAGE_LENGTH) -> str:
    """The text with its middle left out where it is longer than `length`; half characters become their codes."""
    whole = str(text)
    if len(whole) > length:
        whole = f"{whole[: length * 2 // 3 - 3]} ... {whole[-(length // 3 - 2) :]}"
    printable = whole.encode("utf-8", "backslashreplace").decode()
    return printable if len(printable) <= 2 * length else shortened(printable, length)


def is_there(path: Path) -> bool:
    """Whether the path exists; one that may not be inspected counts, so that opening it names the cause."""
    try:
        path.stat()
    except OSError as problem:
        return problem.errno not in _ABSENT
    except ValueError:  # a NUL character in the name
        return False
    return True


@contextlib.contextmanager
def reading(
    path: Path, missing: str = "", damaged: str = "cannot be read to its end", remedy: str = "Fetch it again."
) -> Iterator[None]:
    """Wrap the reading of one file: whatever goes wrong is raised as the error that fits the cause.

    Only the reading itself belongs inside: parsers raise all kinds of errors on damaged bytes (KeyError, struct.error,
    zlib.error, ...), so every exception that is not a named error of this package counts as the file's damage unless
    the system, or HDF5, gives another cause.

    Args:
        path: the file.
        missing: the whole sentence for a file that is not there.
        damaged: what is wrong with a file whose contents cannot be read.
        remedy: what to do about it.

    Raises:
        MissingFileError: it is not there.
        LockedFileError: another process holds it.
        UnreadableFileError: it may not be read, it is a folder, or the disk, the network or the memory failed.
        DamagedFileError: it could be opened, and what it holds is not what its name says.
    """
    try:
        with path.open("rb"):  # this error says more than those of HDF5 or nibabel
            pass
        yield
    except NsdError:
        raise
    except Exception as problem:
        raise _named(path, problem, missing, damaged, remedy) from problem


def _named(path: Path, problem: Exception, missing: str, damaged: str, remedy: str) -> NsdError:
    code, said = _errno(problem), str(problem)
    if any(words in said for words in _HELD):
        return LockedFileError(f"{_quoted(path)} {_how_held(code, said)}")
    if code in _ABSENT or isinstance(problem, FileNotFoundError):
        return MissingFileError(missing or f"{_quoted(path)} is not there. Fetch it.")
    if code in _DENIED:
        return UnreadableFileError(
            f"{_quoted(path)} may not be read ({os.strerror(code)}). Ask its owner for the right to read it and its "
            "folders (chmod, chown), or copy it."
        )
    if code in _LOCKED:
        return LockedFileError(f"{_quoted(path)} {_how_held(code, said)}")
    if code == errno.EISDIR:
        return UnreadableFileError(f"{_quoted(path)} is a folder; a file of that name was expected. Move it away.")
    if code in _DEVICE:
        return UnreadableFileError(
            f"{_quoted(path)} could not be read: {os.strerror(code)}. The file may be whole. Check the disk or the "
            "connection to it, then run the same command again."
        )
    if code in _FULL or isinstance(problem, MemoryError):
        why = os.strerror(code) if code in _FULL else f"memory was short ({shortened(said, 100)})"
        return UnreadableFileError(f"{_quoted(path)} could not be read: {why}. Close other programs and try again.")
    cause = contents(path) or f"{type(problem).__name__}: {shortened(said, 160)}"
    return DamagedFileError(f"{_quoted(path)} {damaged} ({cause}). {remedy}")


def _how_held(code: int | None, said: str) -> str:
    if code == errno.ENOLCK:
        return (
            "cannot be locked: its file system has no locks. The file may be whole; set HDF5_USE_FILE_LOCKING=FALSE "
            "and run the same command again."
        )
    if "consistency flags" in said:
        return (
            "is marked as open for writing: a program still writes it, or ended before it had closed it. Wait for that "
            "program; if there is none, `h5clear -s` takes the mark away."
        )
    return (
        "is locked: another program or notebook has it open for writing. The file may be whole. Close that program, "
        "then run the same command again."
    )


def _errno(problem: Exception) -> int | None:
    """The errno of an error; HDF5 gives some only in the message text."""
    code = getattr(problem, "errno", None)
    if code is None and (found := re.search(r"errno = (\d+)", str(problem))):
        code = int(found[1])
    return code


def contents(path: Path) -> str:
    """What a file really is, judging by its first bytes, if not what its name says; empty if they do not tell.

    Called for a file that could not be read.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(64)
    except OSError:
        return ""
    if not start.strip():
        return "it is empty"
    if path.suffix in (".gz", ".mgz") and start.startswith(b"\x1f\x8b"):
        return ""
    if path.suffix in (".hdf5", ".h5") and start.startswith(b"\x89HDF"):
        return ""
    return next((what for bytes_, what in _CONTENTS if start.lstrip().startswith(bytes_)), "")


def _quoted(path: Path) -> str:
    return f"'{shortened(path, 260)}'"
