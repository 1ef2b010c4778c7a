"""Sockets for a browser: a free port, one that is taken, and addresses as a browser wants them."""

from __future__ import annotations

import argparse
import socket
import urllib.parse

import pytest

from streamer.cli.terminal.extras import need
from streamer.cli.terminal.listening import listening, port, url
from streamer.frames import BadInput


def test_port_0_is_a_free_one_and_the_address_leads_there() -> None:
    with listening("127.0.0.1", 0) as listener:
        address = urllib.parse.urlsplit(url(listener, "127.0.0.1"))
        assert address.port == listener.getsockname()[1] != 0
        assert address.hostname is not None
        with socket.create_connection((address.hostname, address.port), timeout=60):
            pass


def test_an_address_of_ipv6_is_in_brackets() -> None:
    with listening("127.0.0.1", 0) as listener:
        number = listener.getsockname()[1]
        assert url(listener, "::1") == f"http://[::1]:{number}"
        assert urllib.parse.urlsplit(url(listener, "::1")).hostname == "::1"


def test_a_port_that_is_taken_is_one_line_that_names_it() -> None:
    with listening("127.0.0.1", 0) as listener:
        number = listener.getsockname()[1]
        with pytest.raises(BadInput, match=rf"^--host 127\.0\.0\.1 --port {number}: address already in use"):
            listening("127.0.0.1", number)


def test_a_host_that_nobody_has_is_one_line() -> None:
    with pytest.raises(BadInput, match=r"^--host 203\.0\.113\.1 --port 0: cannot assign requested address"):
        listening("203.0.113.1", 0)


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("65535", 65535)])
def test_a_port_is_a_number_of_16_bits(text: str, value: int) -> None:
    assert port(text) == value
    for wrong in ("-1", "65536", "80.5", "http", ""):
        with pytest.raises(argparse.ArgumentTypeError, match="give a whole number from 0 to 65535"):
            port(wrong)


def test_a_module_within_a_package_that_is_not_there_is_missing_too() -> None:
    with pytest.raises(BadInput, match=r"^the viewer needs no_such\.widgets, neither: \S+ -m pip install -e '\.\[g"):
        need("gui", "the viewer", "json", "no_such.widgets", "neither")
