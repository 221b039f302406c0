"""Addresses at which there is no cluster."""

from __future__ import annotations

import socket

import pytest

from genai.errors import OptionError

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:", "ray://127.0.0.1:10001", "127.0.0.1:99999"])
def test_what_is_no_address_is_told(address: str) -> None:
    from genai.cluster.connection import connected

    with pytest.raises(OptionError, match="address"), connected(address):
        pass


def test_a_port_where_nothing_listens_is_told_at_once() -> None:
    from genai.cluster.connection import connected

    with socket.socket() as taken:  # and not listening
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(OptionError, match="there is no Ray cluster at"), connected(address):
            pass
