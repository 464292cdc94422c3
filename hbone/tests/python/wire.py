"""One HTTP/2 connection over a blocking socket, spoken by python's h2."""

import struct

import h2.config
import h2.connection
import h2.events
import h2.settings


# RFC 9113 section 6.8.
GOAWAY = 7


class Stream:
    """What has come on one stream."""

    def __init__(self):
        self.headers = None
        self.interim = []
        self.data = bytearray()
        self.ended = False
        self.reset = None


class Wire:
    def __init__(self, sock, client, window=None):
        # A CONNECT has neither :scheme nor :path, which h2's own checks would have it have.
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_inbound_headers=False,
            validate_outbound_headers=False,
        )
        self.sock = sock
        self.h2 = h2.connection.H2Connection(config)
        if window is not None:
            settings = {h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=settings)
        self.streams = {}
        self.goaway = None
        self.client = client
        self.unread = b""
        self.pongs = 0
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        pending = self.h2.data_to_send()
        if pending:
            self.sock.sendall(pending)

    def step(self):
        """Reads once; False when the peer has closed."""
        self.flush()
        data = self.sock.recv(65536)
        if not data:
            return False
        for event in self.h2.receive_data(self.without_goaway(data) if self.client else data):
            self.take(event)
        self.flush()
        return True

    def without_goaway(self, data):
        """Keeps a GOAWAY from h2, which takes and says nothing more after it, while RFC 9113 section 6.8 lets streams finish."""
        self.unread += data
        rest = b""
        while len(self.unread) >= 9:
            length = 9 + int.from_bytes(self.unread[:3], "big")
            if len(self.unread) < length:
                break
            frame, self.unread = self.unread[:length], self.unread[length:]
            if frame[3] == GOAWAY:
                last_stream_id, code = struct.unpack(">II", frame[9:17])
                self.goaway = (code, last_stream_id)
            else:
                rest += frame
        return rest

    def until(self, done):
        while not done():
            assert self.step(), "the peer closed the connection"

    def take(self, event):
        if isinstance(event, (h2.events.PingAckReceived, getattr(h2.events, "PingAcknowledged", ()))):
            self.pongs += 1
        stream_id = getattr(event, "stream_id", None)
        if not stream_id:
            return
        stream = self.streams.setdefault(stream_id, Stream())
        if isinstance(event, (h2.events.RequestReceived, h2.events.ResponseReceived)):
            stream.headers = dict(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            stream.interim.append(dict(event.headers)[":status"])
        elif isinstance(event, h2.events.DataReceived):
            stream.data += event.data
            if event.flow_controlled_length:
                self.h2.acknowledge_received_data(event.flow_controlled_length, stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            stream.ended = True
        elif isinstance(event, h2.events.StreamReset):
            stream.reset = int(event.error_code)

    def room(self, stream_id):
        return min(self.h2.local_flow_control_window(stream_id), self.h2.max_outbound_frame_size)

    def send(self, stream_id, data, end=False):
        """Sends everything, as the peer's windows open."""
        view = memoryview(data)
        while view:
            room = self.room(stream_id)
            if room <= 0:
                assert self.step(), "the peer closed the connection"
                continue
            self.h2.send_data(stream_id, bytes(view[:room]))
            view = view[room:]
            self.flush()
        if end:
            self.h2.end_stream(stream_id)
        self.flush()


def pattern(length):
    """Bytes that show a loss, a repetition or an exchange."""
    return bytes((index * 2654435761 >> 13) & 0xFF for index in range(length))
