"""Disk faults for tests: the k-th access to files in a folder fails with an error number."""

import builtins
import errno
import io
import os
from contextlib import contextmanager
from pathlib import Path

WRITES = ("replace", "mkdir", "fsync")


class DiskFaults:
    """Counts accesses of this process to files in `folder`, and lets one of them fail.

    Writes are the opening of a file for writing, writing to it, renaming, creating a folder, and syncing. Reads are the
    opening of a file for reading. Libraries that open files in C or Rust are not seen.
    """

    def __init__(self, folder, number=errno.ENOSPC, *, fail_write=None, fail_read=None):
        self.folder = str(folder)
        self.number = number
        self.fail = {"write": fail_write, "read": fail_read}
        self.counts = {"write": 0, "read": 0}

    def access(self, kind, path):
        """Count an access; raise the error if it is the one that is to fail."""
        if not isinstance(path, int) and not str(path).startswith(self.folder):
            return
        self.counts[kind] += 1
        if self.counts[kind] == self.fail[kind]:
            raise OSError(self.number, os.strerror(self.number), None if isinstance(path, int) else str(path))

    @contextmanager
    def injected(self, monkeypatch):
        with monkeypatch.context() as patch:
            self._patch(patch)
            yield self

    def _patch(self, patch):
        real_open = io.open

        def opened(file, mode="r", *args, **options):
            writes = set(mode) & set("wax+")
            if isinstance(file, str | Path):
                self.access("write" if writes else "read", file)
            stream = real_open(file, mode, *args, **options)
            if writes and isinstance(file, str | Path) and str(file).startswith(self.folder):
                return _Stream(stream, lambda: self.access("write", file))
            return stream

        patch.setattr(io, "open", opened)
        patch.setattr(builtins, "open", opened)
        for name in WRITES:
            patch.setattr(os, name, self._counted(getattr(os, name)))

    def _counted(self, function):
        def counted(path, *args, **options):
            self.access("write", path)
            return function(path, *args, **options)

        return counted


class _Stream:
    """An open file whose writes are counted."""

    def __init__(self, stream, before):
        self._stream = stream
        self._before = before

    def write(self, content):
        self._before()
        return self._stream.write(content)

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def __enter__(self):
        self._stream.__enter__()
        return self

    def __exit__(self, *error):
        return self._stream.__exit__(*error)

    def __iter__(self):
        return iter(self._stream)
