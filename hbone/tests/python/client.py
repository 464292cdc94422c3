"""A client of our server: `client.py PORT SCENARIO`. Ends with 0 if the server did what it should."""

import socket
import sys

from wire import Wire, pattern

CONNECT_ERROR = 10
CANCEL = 8


def connect(wire, authority, headers=()):
    stream_id = wire.h2.get_next_available_stream_id()
    wire.h2.send_headers(stream_id, [(":method", "CONNECT"), (":authority", authority), *headers])
    wire.flush()
    wire.until(lambda: stream_id in wire.streams and wire.streams[stream_id].headers)
    return stream_id, wire.streams[stream_id]


def opened(wire, authority, headers=()):
    stream_id, stream = connect(wire, authority, headers)
    assert stream.headers[":status"] == "200", stream.headers
    return stream_id, stream


def carries_bytes(port):
    wire = dial(port)
    stream_id, stream = opened(wire, "echo.example:7")
    sent = pattern(1_000_000)
    wire.send(stream_id, sent, end=True)
    wire.until(lambda: stream.ended)
    assert stream.data == sent, f"{len(stream.data)} of {len(sent)}"
    assert stream.reset is None


def carries_many_at_once(port):
    wire = dial(port)
    tunnels = [opened(wire, "echo.example:7") for _ in range(50)]
    for index, (stream_id, _) in enumerate(tunnels):
        wire.send(stream_id, pattern(1000 + index), end=True)
    for index, (_, stream) in enumerate(tunnels):
        wire.until(lambda: stream.ended)
        assert stream.data == pattern(1000 + index)


def ends_its_direction_first(port):
    wire = dial(port)
    stream_id, stream = opened(wire, "late.example:7")
    wire.send(stream_id, b"question", end=True)
    wire.until(lambda: stream.ended)
    assert stream.data == b"answer to question", stream.data


def is_ended_first(port):
    wire = dial(port)
    stream_id, stream = opened(wire, "first.example:7")
    wire.until(lambda: stream.ended)
    assert stream.data == b"all I have", stream.data
    wire.send(stream_id, b"and all of mine", end=True)
    # The server says on another tunnel what it has read.
    _, told = opened(wire, "told.example:7")
    wire.until(lambda: told.ended)
    assert told.data == b"and all of mine", told.data


def is_reset(port):
    wire = dial(port)
    _, stream = opened(wire, "reset.example:7")
    wire.until(lambda: stream.reset is not None)
    assert stream.reset == CONNECT_ERROR, stream.reset
    assert not stream.ended and stream.data == b"part"


def resets(port):
    wire = dial(port)
    stream_id, _ = opened(wire, "listen.example:7")
    wire.send(stream_id, b"half a sen")
    wire.h2.reset_stream(stream_id, CANCEL)
    wire.flush()
    _, told = opened(wire, "told.example:7")
    wire.until(lambda: told.ended)
    assert told.data == b"connection reset", told.data


def is_refused(port):
    wire = dial(port)
    for authority, status in [("denied.example:7", "401"), ("down.example:7", "503"), ("no-port", "400")]:
        _, stream = connect(wire, authority)
        wire.until(lambda: stream.ended or stream.reset is not None)
        assert stream.headers[":status"] == status, stream.headers
        assert not stream.data
    opened(wire, "echo.example:7")


def is_refused_without_connect(port):
    wire = dial(port)
    stream_id = wire.h2.get_next_available_stream_id()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", "echo.example:7"), (":path", "/")]
    wire.h2.send_headers(stream_id, fields, end_stream=True)
    wire.until(lambda: stream_id in wire.streams and wire.streams[stream_id].ended)
    assert wire.streams[stream_id].headers[":status"] == "400"


def hears_a_goodbye(port):
    wire = dial(port)
    stream_id, stream = opened(wire, "goodbye.example:7")
    wire.until(lambda: wire.goaway is not None)
    assert wire.goaway[0] == 0, wire.goaway
    wire.send(stream_id, b"the other direction too", end=True)
    wire.until(lambda: stream.ended)
    # The connection ends with its last tunnel.
    while wire.step():
        pass
    assert stream.data == b"after the goodbye", stream.data
    assert stream.reset is None


def has_tiny_windows(port):
    wire = dial(port, window=1)
    stream_id, stream = opened(wire, "echo.example:7")
    sent = pattern(400)
    wire.send(stream_id, sent, end=True)
    wire.until(lambda: stream.ended)
    assert stream.data == sent


def sends_early(port):
    wire = dial(port)
    stream_id = wire.h2.get_next_available_stream_id()
    wire.h2.send_headers(stream_id, [(":method", "CONNECT"), (":authority", "echo.example:7")])
    wire.send(stream_id, b"before the yes", end=True)
    wire.until(lambda: stream_id in wire.streams and wire.streams[stream_id].ended)
    stream = wire.streams[stream_id]
    assert (stream.headers[":status"], stream.data) == ("200", b"before the yes")


def pings(port):
    wire = dial(port)
    wire.h2.ping(b"12345678")
    wire.until(lambda: wire.pongs == 1)


def sends_headers(port):
    wire = dial(port)
    fields = [
        ("baggage", "service.name=caf%C3%A9,b=2"),
        ("forwarded", 'for="[2001:db8::1]:4711";host=web.shop'),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ]
    _, stream = opened(wire, "headers.example:7", fields)
    wire.until(lambda: stream.ended)
    told = stream.data.decode()
    assert told == "café [2001:db8::1]:4711 web.shop true", told


def dial(port, window=None):
    sock = socket.create_connection(("127.0.0.1", port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return Wire(sock, client=True, window=window)


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in [
        carries_bytes,
        carries_many_at_once,
        ends_its_direction_first,
        is_ended_first,
        is_reset,
        resets,
        is_refused,
        is_refused_without_connect,
        hears_a_goodbye,
        has_tiny_windows,
        sends_early,
        pings,
        sends_headers,
    ]
}

if __name__ == "__main__":
    SCENARIOS[sys.argv[2]](int(sys.argv[1]))
