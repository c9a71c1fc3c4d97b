"""The text of a table's file: unpacked, decoded and checked piece by piece, whatever its encoding and line ends.

What comes out is UTF-8 with "\\n" at the end of each line, without a mark at its head and without NUL.
"""

import codecs
import os
import stat
import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from dlfound.errors import Code, Error, printable

CHUNK = 1 << 23  # bytes of a piece
SOON = 1 << 16  # bytes beyond a piece in which its last line may end
HEAD = 1000  # bytes that tell what a file is
MAX_LINE = 1 << 24  # bytes of one line, or of a row whose cells hold line ends
GZIP = b"\x1f\x8b"
UTF8_MARK = b"\xef\xbb\xbf"
MARKS = {b"\xff\xfe\0\0": "utf-32", b"\0\0\xfe\xff": "utf-32", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Text:
    """A file's text, of which a piece lies in memory.

    Attributes:
        data: the piece: UTF-8, lines end with "\\n".
        line: the number of its first line, from 1.
        ended: nothing comes after the piece.
    """

    def __init__(self, path: Path, encoding: str, max_bytes: int):
        """Opens the file and reads its first piece.

        Raises:
            Error: no such file, empty, not text, larger than `max_bytes` (code 3), unknown encoding (code 2).
        """
        self.path, self.data, self.line, self.ended = path, b"", 1, False
        self._fault: Error | None = None
        self._encoding = known_encoding(encoding)
        self._chunks = _decoded(path, self._encoding, max_bytes)
        self.more()
        if not self.data:
            raise Error(f"{printable(path)} is empty", "give a file with rows", Code.DATA)

    def more(self, size: int = 1) -> None:
        """Lengthens the piece by chunks of `size` bytes or more; at its end the file's last line gets its line end.

        Raises:
            Error: the rest cannot be read (code 3); also whenever more is asked for after that.
        """
        if self._fault is not None:  # the chunks have ended with it, which must not look like the file's end
            raise self._fault
        parts, wanted = [self.data], len(self.data) + size
        try:
            while sum(map(len, parts)) < wanted:
                parts.append(next(self._chunks))
        except StopIteration:
            self.ended = True
            last = next((part for part in reversed(parts) if part), b"\n")
            parts.append(b"" if last.endswith(b"\n") else b"\n")
        except _Bad as bad:
            line = self.line + b"".join(parts).count(b"\n") + bad.lines
            self._fault = Error(f"{printable(self.path)}:{line}: {bad.what}", bad.fix, Code.DATA)
            raise self._fault from None
        except Error as error:
            self._fault = error
            raise
        self.data = b"".join([part for part in parts if part])  # one part is not copied

    def drop(self, size: int, lines: int) -> None:
        """Shortens the piece by its first `size` bytes, which hold so many lines."""
        self.data = self.data[size:]
        self.line += lines

    def lines(self) -> Iterator[str]:
        """Each line of the file from the piece on; takes nothing away.

        Raises:
            Error: a line longer than 16 MB (code 3).
        """
        start = number = 0
        while True:
            end = self.data.find(b"\n", start)
            while end < 0 and not self.ended:
                self.check_length(len(self.data) - start, number)
                self.more()
                end = self.data.find(b"\n", start)
            if end < 0:
                return
            self.check_length(end - start, number)
            yield self.data[start : end + 1].decode("utf-8")
            start, number = end + 1, number + 1

    def taken_lines(self) -> Iterator[str]:
        """Each line of the file from the piece on, taken away as they are read."""
        while True:
            cut = self.data.rfind(b"\n") + 1
            if cut == 0 and self.ended:
                return
            if cut == 0:
                self.check_length(len(self.data), 0)
                self.more()
                continue
            block = self.data[:cut]
            self.drop(cut, block.count(b"\n"))
            yield from split_lines(block)

    def check_length(self, size: int, lines: int) -> None:
        """Raises an Error where so many bytes are too long a line; `lines` stand before it in the piece."""
        if size > MAX_LINE:
            what = f"{printable(self.path)}:{self.line + lines}: a line of more than {MAX_LINE >> 20} MB"
            raise Error(what, "check that the file is a table with a row a line, and its quotes", Code.DATA)


def split_lines(block: bytes) -> Iterator[str]:
    """Each line of a block of whole lines, with its line end."""
    for line in block.split(b"\n")[:-1]:
        yield line.decode("utf-8") + "\n"


def known_encoding(name: str) -> str:
    """The usual name of an encoding of text.

    Raises:
        Error: there is none of that name (code 2).
    """
    try:
        "".encode(name)  # refuses codecs that do not encode text
        return codecs.lookup(name).name
    except (LookupError, ValueError):
        what = f"data.encoding={printable(name)} is no encoding"
        raise Error(
            what, "use utf-8, latin-1, cp1252, utf-16 or another that Python knows", Code.CONFIG
        ) from None


class _Bad(Exception):
    """What is wrong with the text, so many lines into its chunk."""

    def __init__(self, lines: int, what: str, fix: str):
        super().__init__(what)
        self.lines, self.what, self.fix = lines, what, fix


# ---- text from bytes


def _decoded(path: Path, encoding: str, max_bytes: int) -> Iterator[bytes]:
    raw = _unpacked(path, max_bytes)
    first = b""
    while len(first) < HEAD and (chunk := next(raw, None)) is not None:
        first += chunk
    utf8 = encoding in ("utf-8", "utf-8-sig")
    if utf8:
        _check_head(path, first)
        first = first.removeprefix(UTF8_MARK)
    decode = _utf8 if utf8 else _others
    yield from _line_ends(_without_nul(path, decode(path, _chained(first, raw), encoding)))


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _check_head(path: Path, head: bytes) -> None:
    """Tells UTF-16 and UTF-32 by their mark, or by the place of their NULs."""
    looks = next((name for mark, name in MARKS.items() if head.startswith(mark)), None) or _by_nul(head)
    if looks:
        what = f"{printable(path)} looks like {looks.upper()}"
        raise Error(what, f"convert it to UTF-8 or set data.encoding={looks}", Code.DATA)


def _by_nul(head: bytes) -> str | None:
    """Text of mostly Latin letters without a mark: every second byte is NUL, or three of four."""
    head = head[: min(len(head), HEAD) // 4 * 4]
    shares = [head[place::4].count(0) / max(1, len(head) // 4) for place in range(4)]
    for nul, name in (
        ("0111", "utf-32-le"),
        ("1110", "utf-32-be"),
        ("0101", "utf-16-le"),
        ("1010", "utf-16-be"),
    ):
        if all(share > 0.7 if n == "1" else share < 0.1 for n, share in zip(nul, shares, strict=True)):
            return name
    return None


def _check_nul(path: Path, data: bytes, before: int) -> None:
    place = data.find(b"\0")
    if place >= 0:
        what = f"{printable(path)} is not text (byte 0x00 at {before + place})"
        raise Error(what, "give a table as text (CSV) or as Parquet", Code.DATA)


def _without_nul(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    before = 0
    for data in chunks:
        _check_nul(path, data, before)
        before += len(data)
        yield data


def _utf8(path: Path, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """The same bytes, none of them in the midst of a character; all are checked."""
    held, before = b"", 0
    for chunk in chunks:
        data, held = held + chunk, b""
        if not data.isascii():
            try:
                data.decode("utf-8")
            except UnicodeDecodeError as error:
                if error.reason != "unexpected end of data" or error.end != len(data):
                    _check_nul(path, data, before)  # no text at all: that says more
                    raise _undecodable(error, data[: error.start]) from None
                data, held = data[: error.start], data[error.start :]
        before += len(data)
        yield data
    if held:
        raise _Bad(
            0, f"not UTF-8 (byte 0x{held[0]:02x} at the end of the file)", "the file is cut: fetch it anew"
        )


def _undecodable(error: UnicodeDecodeError, before: bytes) -> _Bad:
    what = f"not UTF-8 (byte 0x{error.object[error.start]:02x})"
    return _Bad(
        _one_line_end(before).count(b"\n"), what, "set data.encoding=latin-1, or the encoding that it has"
    )


def _others(path: Path, chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-8 from another encoding."""
    decoder = codecs.getincrementaldecoder(encoding)()
    first = True
    try:
        for chunk in chunks:
            text = decoder.decode(chunk)
            yield (text.removeprefix("\ufeff") if first else text).encode("utf-8")
            first = first and not text
        yield decoder.decode(b"", True).encode("utf-8")
    except UnicodeError as error:
        place = error.object[: error.start] if isinstance(error, UnicodeDecodeError) else b""
        lines = _one_line_end(place.decode(encoding, "replace").encode("utf-8", "replace")).count(b"\n")
        what, fix = (
            f"not {encoding.upper()} ({getattr(error, 'reason', error)})",
            "set data.encoding to the encoding that it has",
        )
        raise _Bad(lines, what, fix) from None


def _line_ends(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """All line ends as "\\n": CR LF, CR alone and mixtures are the same text."""
    held = b""
    for chunk in chunks:
        data, held = held + chunk if held else chunk, b""
        if data.endswith(b"\r"):
            data, held = data[:-1], b"\r"  # its LF may come with the next chunk
        yield _one_line_end(data)
    if held:
        yield b"\n"


def _one_line_end(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


# ---- bytes from a file


def check_file(path: Path) -> int:
    """The size of a plain file that can be read.

    Raises:
        Error: not there, a folder, a device, or closed to us (code 3).
    """
    name = printable(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        link = " (the link leads nowhere)" if path.is_symlink() else f" (looked in {printable(Path.cwd())})"
        where = "" if path.is_absolute() and not path.is_symlink() else link
        raise Error(f"data file '{name}' not found{where}", "check the path", Code.DATA) from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Error(f"cannot read '{name}': {why}", "check the path and its permissions", Code.DATA) from None
    if stat.S_ISDIR(status.st_mode):
        raise Error(f"'{name}' is a folder", f"name a file, or several: '{name}/*.csv'", Code.DATA)
    if not stat.S_ISREG(status.st_mode):
        raise Error(f"'{name}' is no plain file", "save the table as a file first", Code.DATA)
    return status.st_size


def _unpacked(path: Path, max_bytes: int) -> Iterator[bytes]:
    """The content in chunks, unpacked where the file ends with .gz."""
    gzip, size = path.suffix.lower() == ".gz", check_file(path)
    try:
        with path.open("rb") as file:
            head = file.read(len(GZIP))
            file.seek(0)
            _check_gzip(path, gzip, head)
            if size > max_bytes:
                raise _too_large(path, max_bytes, "")
            if (
                gzip and _stated(file, size) > max_bytes
            ):  # likely too large: that is told before much is in memory
                deque(_limited(path, _gunzipped(path, file), max_bytes), maxlen=0)
                file.seek(0)
            yield from _limited(path, _gunzipped(path, file) if gzip else _read(file), max_bytes, gzip)
    except OSError as error:
        what = f"cannot read '{printable(path)}': {error.strerror or error}"
        raise Error(what, "check the file and its permissions", Code.DATA) from None


def _limited(path: Path, chunks: Iterator[bytes], max_bytes: int, gzip: bool = True) -> Iterator[bytes]:
    total = 0
    for chunk in chunks:
        total += len(chunk)
        if total > max_bytes:
            raise _too_large(path, max_bytes, " after decompression" * gzip)
        yield chunk


def _stated(file: BinaryIO, size: int) -> int:
    """What a gzip file says of its last member's size, unpacked; whether it is true shows when it is unpacked."""
    return int.from_bytes(os.pread(file.fileno(), 4, max(0, size - 4)), "little")


def _read(file: BinaryIO) -> Iterator[bytes]:
    """Chunks that end with a line where one ends soon: cut at the last whole line, such a chunk is not copied."""
    while chunk := file.read(CHUNK + os.pread(file.fileno(), SOON, file.tell() + CHUNK).find(b"\n") + 1):
        yield chunk


def _check_gzip(path: Path, named: bool, head: bytes) -> None:
    name = printable(path)
    if named and head and head != GZIP:
        raise Error(f"{name}: not a gzip file", "drop .gz from its name if it is plain text", Code.DATA)
    if not named and head == GZIP:
        raise Error(f"{name} is not text but packed by gzip", "give it a name that ends with .gz", Code.DATA)


def _too_large(path: Path, max_bytes: int, when: str) -> Error:
    what = f"{printable(path)}: more than {max_bytes:,} bytes{when} (data.max_bytes)"
    return Error(what, "raise data.max_bytes if the file is sound", Code.DATA)


def _gunzipped(path: Path, file) -> Iterator[bytes]:
    """All members of a gzip file; their checksums are verified."""
    name, unpacker, rest = printable(path), zlib.decompressobj(31), b""
    try:
        while True:
            rest = rest or file.read(1 << 20)
            if unpacker.eof:
                if not rest:
                    return
                rest = rest.lstrip(b"\0")  # zeros may pad the end
                if not rest:
                    continue
                rest += file.read(1) if len(rest) < len(GZIP) else b""
                if not rest.startswith(GZIP):
                    raise Error(f"{name}: junk after end of the compressed data", "fetch it anew", Code.DATA)
                unpacker = zlib.decompressobj(31)
            chunk = unpacker.decompress(rest, CHUNK)  # without `rest`: what it still holds
            if not rest and not chunk and not unpacker.eof:
                raise Error(f"{name}: compressed file ends early", "fetch it anew", Code.DATA)
            yield chunk
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    except zlib.error as error:
        check = "data check" in str(error) or "length check" in str(error)
        why = "checksum mismatch" if check else f"compressed data are damaged ({error})"
        raise Error(f"{name}: {why}", "fetch it anew", Code.DATA) from None
