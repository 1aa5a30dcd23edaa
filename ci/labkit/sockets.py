"""Sockets of another network namespace: a socket stays in the namespace that it was made in."""

import ctypes
import os
import socket
from contextlib import contextmanager

from labkit.base import Failed

CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def within(name):
    """The calling thread is in the namespace `name`; other threads are not."""
    try:
        there = os.open(f"/run/netns/{name}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(f"there is no namespace {name}: {error.strerror}") from None
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(there)
        yield
    finally:
        _enter(here)
        os.close(here)
        os.close(there)


def socket_in(name, family=socket.AF_INET, kind=socket.SOCK_STREAM, protocol=0):
    """A socket of the namespace `name`."""
    with within(name):
        return socket.socket(family, kind, protocol)


def _enter(namespace):
    if _libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the network namespace")
