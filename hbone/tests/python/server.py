"""A server for our client: `server.py [WINDOW]`. Prints its port, serves one connection, ends with 0 when that is closed.

What it does with a tunnel depends on the host that the tunnel is for.
"""

import socket
import sys

import hyperframe.frame

from wire import Wire

CANCEL = 8


def serve(wire):
    served = {}
    while True:
        for stream_id, stream in list(wire.streams.items()):
            if stream.headers and stream_id not in served:
                served[stream_id] = answer(wire, stream_id, stream)
            if stream_id in served and stream.reset is None:
                served[stream_id] = served[stream_id](wire, stream_id, stream)
        if not wire.step():
            return


def answer(wire, stream_id, stream):
    """Answers, and gives what to do whenever something has come."""
    assert stream.headers[":method"] == "CONNECT", stream.headers
    assert not {":scheme", ":path", ":protocol"} & set(stream.headers), stream.headers
    assert not stream.data, "nothing is sent before the answer"
    host = stream.headers[":authority"].split(":")[0]
    if host == "refused.example":
        wire.h2.send_headers(stream_id, [(":status", "403"), ("retry-after", "3")], end_stream=True)
        return nothing
    if host == "interim.example":
        wire.h2.send_headers(stream_id, [(":status", "103"), ("link", "x")])
    wire.h2.send_headers(stream_id, [(":status", "200"), ("baggage", "service.name=python")])
    if host == "reset.example":
        wire.send(stream_id, b"part")
        wire.h2.reset_stream(stream_id, CANCEL)
        return nothing
    if host == "first.example":
        wire.send(stream_id, b"all I have", end=True)
        return expect(b"and all of mine")
    if host == "cut.example":
        return expect_reset
    if host == "goodbye.example":
        # Not by h2, which would say nothing more after it.
        goaway = hyperframe.frame.GoAwayFrame(0, last_stream_id=stream_id, error_code=0)
        wire.flush()
        wire.sock.sendall(goaway.serialize())
    return echo


def echo(wire, stream_id, stream):
    room = wire.room(stream_id)
    if stream.data and room > 0:
        chunk = bytes(stream.data[:room])
        del stream.data[: len(chunk)]
        wire.h2.send_data(stream_id, chunk)
        wire.flush()
        return echo(wire, stream_id, stream) if stream.data else echo_end(wire, stream_id, stream)
    return echo_end(wire, stream_id, stream)


def echo_end(wire, stream_id, stream):
    if stream.ended and not stream.data:
        wire.h2.end_stream(stream_id)
        return nothing
    return echo


def expect(data):
    def check(wire, stream_id, stream):
        if not stream.ended:
            return check
        assert stream.data == data, stream.data
        return nothing

    return check


def expect_reset(wire, stream_id, stream):
    assert not stream.ended, "a cut is no end"
    return expect_reset


def nothing(wire, stream_id, stream):
    return nothing


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    serve(Wire(sock, client=False, window=int(sys.argv[1]) if sys.argv[1:] else None))
