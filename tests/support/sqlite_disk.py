"""A disk under SQLite that logs what is asked of it, the folders' syncs included.

The log is taken where SQLite meets the system: by a VFS (https://sqlite.org/vfs.html) of the very library that Python's
sqlite3 uses, which passes every call on. SQLite syncs folders inside other calls; its system call "openDirectory" tells
of that. Shared memory is left out: a power cut ends it, and SQLite builds it anew.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import CFUNCTYPE, POINTER, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path
from typing import Any

import pytest

from tests.support.disk_log import LoggedDisk, Synced, Truncated, Written

_OK = 0
_LENT: list[object] = []  # what C was shown is never freed: a forgotten connection would call into nothing

_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_SetCall = CFUNCTYPE(c_int, c_void_p, c_char_p, c_void_p)
_GetCall = CFUNCTYPE(c_void_p, c_void_p, c_char_p)
_OpenFolder = CFUNCTYPE(c_int, c_char_p, POINTER(c_int))
_Close = CFUNCTYPE(c_int, c_void_p)
_Write = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """https://sqlite.org/c3ref/vfs.html"""

    _fields_ = (
        ("version", c_int), ("file_bytes", c_int), ("path_chars", c_int), ("next", c_void_p), ("name", c_char_p),
        ("own", c_void_p), ("open", c_void_p), ("delete", c_void_p), ("access", c_void_p), ("full_path", c_void_p),
        ("dl_open", c_void_p), ("dl_error", c_void_p), ("dl_sym", c_void_p), ("dl_close", c_void_p),
        ("random", c_void_p), ("sleep", c_void_p), ("time", c_void_p), ("error", c_void_p), ("time64", c_void_p),
        ("set_call", c_void_p), ("get_call", c_void_p), ("next_call", c_void_p),
    )  # fmt: skip


class _Methods(ctypes.Structure):
    """https://sqlite.org/c3ref/io_methods.html"""

    _fields_ = (
        ("version", c_int), ("close", c_void_p), ("read", c_void_p), ("write", c_void_p), ("truncate", c_void_p),
        ("sync", c_void_p), ("size", c_void_p), ("lock", c_void_p), ("unlock", c_void_p), ("reserved", c_void_p),
        ("control", c_void_p), ("sector", c_void_p), ("device", c_void_p), ("shm_map", c_void_p),
        ("shm_lock", c_void_p), ("shm_barrier", c_void_p), ("shm_unmap", c_void_p), ("fetch", c_void_p),
        ("unfetch", c_void_p),
    )  # fmt: skip


@contextmanager
def attached(disk: LoggedDisk) -> Iterator[None]:
    """Let all connections that are opened and closed within run on this disk, and Python's own calls as well."""
    with disk.hears_python(), _registered(_library(), disk):
        yield
    assert not disk.in_use, "a connection is still open"


def _library() -> Any:
    """The SQLite that Python's sqlite3 is linked with; where its functions are hidden, the test is skipped."""
    try:
        library = ctypes.CDLL(getattr(_sqlite3, "__file__", None))
        library.sqlite3_vfs_find.restype = c_void_p
        library.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
        library.sqlite3_vfs_unregister.argtypes = (c_void_p,)
        library.sqlite3_libversion.restype = c_char_p
    except (OSError, AttributeError) as error:
        pytest.skip(f"the functions of Python's own SQLite cannot be reached, so no power cut can be played: {error}")
    if library.sqlite3_libversion().decode() != sqlite3.sqlite_version:
        pytest.skip("another SQLite than Python's own was found, so no power cut can be played")
    return library


@contextmanager
def _registered(library: Any, disk: LoggedDisk) -> Iterator[None]:
    """Stand in for the library's usual VFS."""
    usual = library.sqlite3_vfs_find(None)
    base = _Vfs.from_address(usual)
    set_call, folder = _SetCall(base.set_call), b"openDirectory"
    open_folder = _open_folder(_OpenFolder(_GetCall(base.get_call)(usual, folder)), disk)
    ours = _Vfs.from_buffer_copy(base)
    ours.name = b"notifybot-log"
    hooks = (_open(usual, base, disk), _delete(usual, base, disk))
    ours.open, ours.delete = (_address(each) for each in hooks)
    _LENT.extend((ours, open_folder, *hooks))
    assert set_call(usual, folder, _address(open_folder)) == _OK
    assert library.sqlite3_vfs_register(ctypes.addressof(ours), 1) == _OK
    try:
        yield
    finally:
        library.sqlite3_vfs_unregister(ctypes.addressof(ours))
        library.sqlite3_vfs_register(usual, 1)
        set_call(usual, folder, None)


def _address(function: Any) -> int | None:
    return ctypes.cast(function, c_void_p).value


def _open(usual: int, base: _Vfs, disk: LoggedDisk) -> Any:
    call = _Open(base.open)
    tables: dict[int | None, _Methods] = {}  # SQLite has one per kind of locking

    def opened(_: int, name: int | None, handle: int, flags: int, given: int | None) -> int:
        code: int = call(usual, name, handle, flags, given)
        if code == _OK and name is not None:  # without a name it is a temporary file
            disk.opened(handle, Path(os.fsdecode(ctypes.string_at(name))))
            methods = c_void_p.from_address(handle)
            if methods.value not in tables:
                tables[methods.value] = _logged(_Methods.from_address(methods.value or 0), disk)
            methods.value = ctypes.addressof(tables[methods.value])
        return code

    return _Open(opened)


def _delete(usual: int, base: _Vfs, disk: LoggedDisk) -> Any:
    call = _Delete(base.delete)

    def deleted(_: int, name: bytes, sync_folder: int) -> int:
        at = len(disk.log)  # the folder's sync comes within the call
        code: int = call(usual, name, sync_folder)
        if code == _OK:
            disk.removed(Path(os.fsdecode(name)), at)
        return code

    return _Delete(deleted)


def _open_folder(call: Any, disk: LoggedDisk) -> Any:
    def opened(path: bytes, descriptor: Any) -> int:
        """SQLite opens a folder for nothing but syncing it; it is given the name of a file in there."""
        code: int = call(path, descriptor)
        if code == _OK:
            disk.folder_synced(Path(os.fsdecode(path)).parent)
        return code

    return _OpenFolder(opened)


def _logged(base: _Methods, disk: LoggedDisk) -> _Methods:
    """The methods of an open file, which log before they answer."""
    close, write, truncate, sync = (
        _Close(base.close), _Write(base.write), _Truncate(base.truncate), _Sync(base.sync),
    )  # fmt: skip

    def closed(handle: int) -> int:
        disk.closed(handle)
        return int(close(handle))

    def wrote(handle: int, content: int, count: int, offset: int) -> int:
        code: int = write(handle, content, count, offset)
        if code == _OK:
            copy = ctypes.string_at(content, count)
            disk.happened(handle, lambda file: Written(file, offset, copy))
        return code

    def truncated(handle: int, size: int) -> int:
        code: int = truncate(handle, size)
        if code == _OK:
            disk.happened(handle, lambda file: Truncated(file, size))
        return code

    def synced(handle: int, flags: int) -> int:
        if disk.lies:
            return _OK
        at = len(disk.log)  # the folder's sync comes within the call
        code: int = sync(handle, flags)
        if code == _OK:
            disk.happened(handle, Synced, at)
        return code

    methods = _Methods.from_buffer_copy(base)
    hooks = (_Close(closed), _Write(wrote), _Truncate(truncated), _Sync(synced))
    methods.close, methods.write, methods.truncate, methods.sync = (_address(each) for each in hooks)
    _LENT.extend((methods, *hooks))
    return methods
