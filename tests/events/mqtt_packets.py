"""The packets of MQTT 3.1.1 that a broker made of plain sockets needs."""

from __future__ import annotations

import socket

CONNACK = b"\x20\x02\x00\x00"


def greet(connection: socket.socket) -> None:
    """Let the client come."""
    connection.recv(10_000)
    connection.sendall(CONNACK)


def read_packet(connection: socket.socket) -> bytes:
    """The body of one packet; nothing where the client hung up."""
    length = shift = 0
    if not connection.recv(1):
        return b""
    while True:
        byte = connection.recv(1)[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            break
    data = bytearray()
    while len(data) < length:
        data += connection.recv(length - len(data))
    return bytes(data)
