"""A Component of a site in Python: a program that an SFU runs as a child process.

    import rrts_site, orders_pb

    class Orders:
        def Place(self, request, call):
            outcome = call.submit(transaction(request))
            return orders_pb.PlaceReply(csn=outcome.csn)

    def setup(host):
        host.answer(orders_pb.ORDERS, Orders())

    rrts_site.main("orders 1.0", setup)

A handler has a method for each of the service; it gets the request and the call, and
returns the reply. Each runs in a thread of its own, at most WORKERS at once, so that it
may wait. It refuses by raising Failure; any other exception is answered INTERNAL, with
its traceback in the journal. What is printed goes to the journal too.

call.submit and call.call act in the name of the user who sent the request, until it is
answered; host.submit and host.call in that of the Component's own user. Either way the
SFU passes only what the Component's file in /etc/rrts/components.d grants.

Messages are made by `rrtsgen python`. Only Python's standard library is needed, 3.9 or
newer. The protocol on the socket is described in the Go package rrts/engine/child.
"""

import math
import os
import queue
import random
import socket
import struct
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor

PROTOCOL = 1
WORKERS = 64
MAX_FRAME = (16 << 20) + 1024
MAX_DETAIL = 512
MAX_DEPTH = 100
TRY_FOR = 10.0  # seconds for one try of a transaction

# Codes of failures; package rrts/message names them.
OK, OVERLOADED, NOT_LEADER, EXPIRED, UNAVAILABLE, UNKNOWN, NO_METHOD, DENIED, INVALID, DRAINING, INTERNAL, QUARANTINED, \
    UNSIGNED, NOT_FOUND = range(14)

_CODES = ("ok overloaded not_leader expired unavailable unknown no_method denied invalid draining internal quarantined "
          "unsigned not_found").split()

# Severities of alarms.
INFO, WARNING, CRITICAL = range(3)


class Failure(Exception):
    """An answer by a code instead of a reply."""

    def __init__(self, code, detail=""):
        name = _CODES[code] if code < len(_CODES) else "code_%d" % code
        super().__init__("%s: %s" % (name, detail) if detail else name)
        self.code, self.detail = code, detail


class NotCommitted(Exception):
    """A final outcome other than COMMITTED, in the attribute outcome."""

    def __init__(self, outcome):
        super().__init__("transaction %x is %s: %s" % (outcome.id, getattr(outcome.state, "name", outcome.state), outcome.reason))
        self.outcome = outcome


class Malformed(ValueError):
    """Bytes that are not a message of that type."""


# Messages: standard protobuf.

class Field:
    """One field: number, name, kind as in the .proto file, and for messages and enums their class."""

    __slots__ = ("number", "name", "kind", "type", "repeated", "optional", "sensitive", "max_items")

    def __init__(self, number, name, kind, type=None, repeated=False, optional=False, sensitive=False, max_items=0):
        self.number, self.name, self.kind, self.type = number, name, kind, type
        self.repeated, self.optional, self.sensitive, self.max_items = repeated, optional, sensitive, max_items

    def default(self):
        if self.repeated:
            return []
        if self.optional or self.kind == "message":
            return None
        if self.kind == "string":
            return ""
        if self.kind == "bytes":
            return b""
        if self.kind == "bool":
            return False
        if self.kind in ("float", "double"):
            return 0.0
        return self.type(0) if self.kind == "enum" else 0


_FIXED = {"fixed32": "<I", "fixed64": "<Q", "sfixed32": "<i", "sfixed64": "<q", "float": "<f", "double": "<d"}
_BYTES = ("string", "bytes", "uint128", "message")


def _wire(kind):
    if kind in _BYTES:
        return 2
    if kind in _FIXED:
        return 5 if struct.calcsize(_FIXED[kind]) == 4 else 1
    return 0


def _varint(out, v):
    while v > 0x7F:
        out.append(v & 0x7F | 0x80)
        v >>= 7
    out.append(v)


def _read_varint(b, i, end):
    v = shift = 0
    while i < end and shift < 70:
        c = b[i]
        i += 1
        v |= (c & 0x7F) << shift
        if c < 0x80:
            if v >= 1 << 64:
                break
            return v, i
        shift += 7
    raise Malformed("a varint is malformed")


def _length(b, i, end):
    n, i = _read_varint(b, i, end)
    if n > end - i:
        raise Malformed("a length is beyond the end")
    return i + n, i


def _skip(b, i, end, tag, depth):
    wire = tag & 7
    if tag >> 3 == 0 or tag >> 3 > (1 << 29) - 1 or depth == 0:
        raise Malformed("a tag is malformed")
    if wire == 0:
        return _read_varint(b, i, end)[1]
    if wire == 2:
        return _length(b, i, end)[0]
    if wire == 3:
        while True:
            inner, i = _read_varint(b, i, end)
            if inner & 7 == 4:
                if inner >> 3 != tag >> 3:
                    raise Malformed("a group ends that has not begun")
                return i
            i = _skip(b, i, end, inner, depth - 1)
    size = {1: 8, 5: 4}.get(wire)
    if size is None or end - i < size:
        raise Malformed("a field is malformed")
    return i + size


_SIGNED = {"int32": 32, "int64": 64}
_MASK = {"uint32": 0xFFFFFFFF, "int32": 0xFFFFFFFF, "enum": 0xFFFFFFFF}


def _to_varint(f, v):
    if f.kind in ("sint32", "sint64"):
        v = int(v)
        return v << 1 if v >= 0 else (-v << 1) - 1
    v = int(v)
    if f.kind == "enum" and v >> 31 == 1:
        v -= 1 << 32  # protobuf's enums are signed
    return v & 0xFFFFFFFFFFFFFFFF


def _from_varint(f, v):
    kind = f.kind
    if kind == "bool":
        return v != 0
    if kind in ("sint32", "sint64"):
        if kind == "sint32":
            v &= 0xFFFFFFFF
        return (v >> 1) ^ -(v & 1)
    v &= _MASK.get(kind, 0xFFFFFFFFFFFFFFFF)
    bits = _SIGNED.get(kind)
    if bits and v >> (bits - 1):
        v -= 1 << bits
    if kind == "enum":
        try:
            return f.type(v)
        except ValueError:
            return v  # of a newer version
    return v


class Message:
    """What every generated message is. Its fields are attributes; the constructor takes them by name."""

    NAME = ""
    FIELDS = ()

    def __init__(self, **values):
        for f in self.FIELDS:
            setattr(self, f.name, values.pop(f.name) if f.name in values else f.default())
        if values:
            raise TypeError("%s has no field %s" % (self.NAME, ", ".join(values)))

    def encode(self):
        """The message as bytes, fields in the order of their numbers."""
        out = bytearray()
        for f in sorted(self.FIELDS, key=lambda f: f.number):
            v = getattr(self, f.name)
            if f.repeated:
                if v and f.kind not in _BYTES:
                    packed = bytearray()
                    for x in v:
                        self._scalar(packed, f, x)
                    _varint(out, f.number << 3 | 2)
                    _varint(out, len(packed))
                    out += packed
                    continue
                for x in v:
                    _varint(out, f.number << 3 | 2)
                    self._scalar(out, f, x)
            elif v is not None and (f.optional or f.kind == "message" or v or f.kind in ("float", "double") and math.copysign(1, v) < 0):
                _varint(out, f.number << 3 | _wire(f.kind))
                self._scalar(out, f, v)
        return bytes(out)

    @staticmethod
    def _scalar(out, f, v):
        kind = f.kind
        if kind in _FIXED:
            out += struct.pack(_FIXED[kind], v)
            return
        if kind not in _BYTES:
            _varint(out, _to_varint(f, v))
            return
        if kind == "message":
            v = v.encode()
        elif kind == "string":
            v = v.encode("utf-8")
        elif kind == "uint128":
            if v < 0 or v >> 128:
                raise ValueError("%s: %d is no 128-bit number" % (f.name, v))
            v = v.to_bytes((v.bit_length() + 7) // 8, "big")
        _varint(out, len(v))
        out += v

    @classmethod
    def decode(cls, b):
        """The message that bytes hold. Raises Malformed."""
        m = cls()
        try:
            m._decode(bytes(b), 0, len(b), MAX_DEPTH)
        except struct.error:
            raise Malformed("%s: a number is cut off" % cls.NAME) from None
        return m

    def _decode(self, b, i, end, depth):
        if depth == 0:
            raise Malformed("%s: nested too deep" % self.NAME)
        fields = {f.number: f for f in self.FIELDS}
        while i < end:
            tag, i = _read_varint(b, i, end)
            f = fields.get(tag >> 3)
            wire = tag & 7
            if f is None or wire != _wire(f.kind) and not (f.repeated and wire == 2):
                i = _skip(b, i, end, tag, depth)
                continue
            if f.repeated and wire == 2 and f.kind not in _BYTES:
                stop, i = _length(b, i, end)
                while i < stop:
                    v, i = self._value(f, b, i, stop, depth)
                    getattr(self, f.name).append(v)
            else:
                if f.kind == "message" and not f.repeated and getattr(self, f.name) is not None:
                    stop, i = _length(b, i, end)  # messages merge
                    getattr(self, f.name)._decode(b, i, stop, depth - 1)
                    i = stop
                    continue
                v, i = self._value(f, b, i, end, depth)
                if f.repeated:
                    getattr(self, f.name).append(v)
                else:
                    setattr(self, f.name, v)
            if f.max_items and len(getattr(self, f.name)) > f.max_items:
                raise Malformed("%s.%s: more than %d" % (self.NAME, f.name, f.max_items))

    def _value(self, f, b, i, end, depth):
        kind = f.kind
        if kind in _FIXED:
            size = struct.calcsize(_FIXED[kind])
            if end - i < size:
                raise Malformed("%s.%s" % (self.NAME, f.name))
            return struct.unpack_from(_FIXED[kind], b, i)[0], i + size
        if kind not in _BYTES:
            v, i = _read_varint(b, i, end)
            return _from_varint(f, v), i
        stop, i = _length(b, i, end)
        if kind == "message":
            m = f.type()
            m._decode(b, i, stop, depth - 1)
            return m, stop
        raw = b[i:stop]
        if kind == "string":
            try:
                return raw.decode("utf-8"), stop
            except UnicodeDecodeError:
                raise Malformed("%s.%s: not UTF-8" % (self.NAME, f.name)) from None
        if kind == "uint128":
            if len(raw) > 16:
                raise Malformed("%s.%s: more than 128 bits" % (self.NAME, f.name))
            return int.from_bytes(raw, "big"), stop
        return raw, stop

    def __eq__(self, other):
        return type(self) is type(other) and all(getattr(self, f.name) == getattr(other, f.name) for f in self.FIELDS)

    def __repr__(self):
        """For a log: what is sensitive is named without its value."""
        parts = []
        for f in self.FIELDS:
            v = getattr(self, f.name)
            if v not in (None, 0, "", b"", []):
                parts.append("%s=%s" % (f.name, "redacted" if f.sensitive else repr(v)))
        return "%s(%s)" % (self.NAME.rpartition(".")[2], ", ".join(parts))


class Method:
    """One method of a service."""

    def __init__(self, number, name, request, reply, lane=2, idempotent=False, notice=False, sensitive=False, max_bytes=1 << 20):
        self.number, self.name, self.request, self.reply = number, name, request, reply
        self.lane, self.idempotent, self.notice, self.sensitive, self.max_bytes = lane, idempotent, notice, sensitive, max_bytes
        self.service = None


class Service:
    """One service: its methods are attributes by their names."""

    def __init__(self, number, name, policy, methods):
        self.number, self.name, self.policy, self.methods = number, name, policy, methods
        for m in methods:
            m.service = self
            setattr(self, m.name, m)


# What an SFU and its child say to each other: child.proto and envelope.proto.

class _MethodDescription(Message):
    NAME = "rrts.engine.MethodDescription"
    FIELDS = (Field(1, "number", "uint32"), Field(2, "name", "string"), Field(3, "lane", "uint32"), Field(4, "idempotent", "bool"),
              Field(5, "notice", "bool"), Field(6, "sensitive", "bool"), Field(7, "max_bytes", "uint32"),
              Field(8, "request", "string"), Field(9, "reply", "string"))


class _ServiceDescription(Message):
    NAME = "rrts.engine.ServiceDescription"
    FIELDS = (Field(1, "number", "uint32"), Field(2, "name", "string"), Field(3, "policy", "uint32"),
              Field(4, "methods", "message", _MethodDescription, repeated=True))


class _HelloRequest(Message):
    NAME = "rrts.child.HelloRequest"
    FIELDS = (Field(1, "protocol", "uint32"), Field(2, "agent", "string"),
              Field(3, "services", "message", _ServiceDescription, repeated=True))


class _HelloReply(Message):
    NAME = "rrts.child.HelloReply"
    FIELDS = (Field(1, "protocol", "uint32"), Field(2, "component", "string"), Field(3, "sfu", "uint32"),
              Field(4, "sfu_name", "string"), Field(5, "principal", "uint64"), Field(6, "role", "uint32"),
              Field(7, "heartbeat_millis", "uint32"), Field(8, "silent_millis", "uint32"), Field(9, "in_flight", "uint32"))


class _State(Message):
    NAME = "rrts.child.State"
    FIELDS = (Field(1, "ready", "bool"),)


class _Condition(Message):
    NAME = "rrts.child.Condition"
    FIELDS = (Field(1, "subject", "string"), Field(2, "detail", "string"), Field(3, "severity", "uint32"), Field(4, "ended", "bool"))


class _Envelope(Message):
    NAME = "rrts.message.Envelope"
    FIELDS = (Field(1, "kind", "uint32"), Field(2, "service", "uint32"), Field(3, "method", "uint32"), Field(4, "call", "uint64"),
              Field(5, "remaining_millis", "uint32"), Field(6, "code", "uint32"), Field(7, "detail", "string"),
              Field(8, "trace", "bytes"), Field(9, "from_", "uint32"), Field(10, "to", "uint32"), Field(11, "epoch", "uint32"),
              Field(12, "group", "uint32"), Field(13, "principal", "uint64"), Field(14, "role", "uint32"), Field(15, "body", "bytes"))


_REQUEST, _REPLY, _FAILURE, _NOTICE = 1, 2, 3, 4
_CHILD, _HELLO, _BECAME, _OBSERVE, _PING, _DRAIN = 20, 1, 2, 3, 4, 5


class Caller:
    """Calls services in the name of one user."""

    def __init__(self, host, principal):
        self._host, self._principal = host, principal

    def call(self, method, message, timeout=TRY_FOR, to=0):
        """Calls a method, such as STOCK.Reserve, and returns its reply. Raises Failure, or TimeoutError."""
        e = _Envelope(kind=_NOTICE if method.notice else _REQUEST, service=method.service.number, method=method.number, to=to,
                      principal=self._principal, remaining_millis=max(int(timeout * 1000), 1), body=message.encode())
        if method.notice:
            self._host._send(e)
            return None
        return method.reply.decode(self._host._ask(e, timeout))

    def submit(self, transaction, timeout=30.0):
        """Submits a transaction, which has an id, until its outcome is known, always under that id. Returns the outcome
        when it is committed, and raises NotCommitted when it is final otherwise. After a TimeoutError the outcome is not
        known: submit it again."""
        import txn_pb  # made by rrtsgen python

        pause, end = 0.005, time.monotonic() + timeout
        again = (txn_pb.State.UNKNOWN, txn_pb.State.NOT_LEADER, txn_pb.State.PENDING, txn_pb.State.OVERLOADED, txn_pb.State.CLOCK_UNSYNCED)
        batch = txn_pb.SubmitBatch(submissions=[txn_pb.Submission(transaction=transaction.encode())])
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("the outcome of transaction %x is not known" % transaction.id)
            batch.submissions[0].remaining_millis = max(int(left * 1000), 1)
            try:
                outcome = self.call(txn_pb.TXN.Submit, batch, timeout=left).outcomes[0]
                if outcome.state == txn_pb.State.COMMITTED:
                    return outcome
                if outcome.state not in again:
                    raise NotCommitted(outcome)
            except Failure as f:
                if f.code not in (OVERLOADED, NOT_LEADER, UNAVAILABLE, DRAINING, UNKNOWN, EXPIRED):
                    raise
            time.sleep(min(pause * (0.5 + random.random() / 2), max(end - time.monotonic(), 0)))
            pause = min(2 * pause, 0.25)


class Call(Caller):
    """One request that a handler answers; as a Caller it acts in the name of the user who sent it."""

    def __init__(self, host, envelope):
        super().__init__(host, envelope.principal)
        self.host, self.principal, self.role, self.trace = host, envelope.principal, envelope.role, envelope.trace
        self.deadline = time.monotonic() + envelope.remaining_millis / 1000 if envelope.remaining_millis else None

    def left(self):
        """Seconds until nobody waits for the answer any more; None means for ever."""
        return None if self.deadline is None else max(self.deadline - time.monotonic(), 0.0)


class Host(Caller):
    """The SFU as a Component sees it; as a Caller it acts in the name of the Component's own user."""

    def __init__(self, sock):
        super().__init__(self, 0)
        self._sock, self._lock = sock, threading.Lock()
        self._answers, self._pending, self._number = {}, {}, 0
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="request")
        self._drain = None
        self.name, self.sfu, self.sfu_name = "", 0, ""

    def answer(self, service, handler):
        """Makes handler answer a service. To be called in setup."""
        missing = [m.name for m in service.methods if not callable(getattr(handler, m.name, None))]
        if missing:
            raise TypeError("the handler of %s has no %s" % (service.name, ", ".join(missing)))
        self._answers[service.number] = (service, {m.number: m for m in service.methods}, handler)

    def on_drain(self, f):
        """Makes f be called when the SFU stops, to finish what the Component does of its own accord."""
        self._drain = f

    def ready(self, ready):
        """Tells the SFU whether the Component can answer. It is told True after setup."""
        self._send(_Envelope(kind=_NOTICE, service=_CHILD, method=_BECAME, body=_State(ready=ready).encode()))

    def alarm(self, subject, severity, detail):
        """Raises the alarm site-alarm@NAME/subject."""
        c = _Condition(subject=subject, severity=severity, detail=detail[:MAX_DETAIL])
        self._send(_Envelope(kind=_NOTICE, service=_CHILD, method=_OBSERVE, body=c.encode()))

    def clear_alarm(self, subject):
        """Ends an alarm."""
        c = _Condition(subject=subject, ended=True)
        self._send(_Envelope(kind=_NOTICE, service=_CHILD, method=_OBSERVE, body=c.encode()))

    def _send(self, e):
        b = e.encode()
        if len(b) > MAX_FRAME:
            raise Failure(INVALID, "a message of %d bytes is longer than %d" % (len(b), MAX_FRAME))
        with self._lock:
            self._sock.sendall(struct.pack(">I", len(b)) + b)

    def _ask(self, e, timeout):
        answer = queue.SimpleQueue()
        with self._lock:
            self._number += 1
            e.call = self._number
            self._pending[e.call] = answer
        try:
            self._send(e)
            out = answer.get(timeout=timeout + 1)
        except queue.Empty:
            raise TimeoutError("no answer within %.1f s" % timeout) from None
        finally:
            self._pending.pop(e.call, None)
        if out.kind == _FAILURE:
            raise Failure(out.code, out.detail)
        return out.body

    def _read(self, n):
        b = bytearray()
        while len(b) < n:
            part = self._sock.recv(min(n - len(b), 1 << 16))
            if not part:
                return None
            b += part
        return bytes(b)

    def _next(self):
        head = self._read(4)
        if head is None:
            return None
        n = struct.unpack(">I", head)[0]
        if n == 0 or n > MAX_FRAME:
            raise Malformed("a frame of %d bytes" % n)
        body = self._read(n)
        return None if body is None else _Envelope.decode(body)

    def _greet(self, agent):
        hello = _HelloRequest(protocol=PROTOCOL, agent=agent)
        for service, _, _ in self._answers.values():
            d = _ServiceDescription(number=service.number, name=service.name, policy=service.policy)
            for m in service.methods:
                d.methods.append(_MethodDescription(
                    number=m.number, name=m.name, lane=m.lane, idempotent=m.idempotent, notice=m.notice, sensitive=m.sensitive,
                    max_bytes=m.max_bytes, request=m.request.NAME, reply="" if m.notice else m.reply.NAME))
            hello.services.append(d)
        self._send(_Envelope(kind=_REQUEST, service=_CHILD, method=_HELLO, body=hello.encode()))
        e = self._next()
        if e is None:
            raise ConnectionError("no answer to Hello")
        if e.kind == _FAILURE:
            raise Failure(e.code, e.detail)
        r = _HelloReply.decode(e.body)
        self.name, self.sfu, self.sfu_name = r.component, r.sfu, r.sfu_name

    def _run(self):
        while True:
            e = self._next()
            if e is None:
                return
            if e.kind in (_REPLY, _FAILURE):
                answer = self._pending.get(e.call)
                if answer is not None:
                    answer.put(e)
            elif e.service == _CHILD and e.method == _PING:
                self._send(_Envelope(kind=_REPLY, call=e.call))
            elif e.service == _CHILD and e.method == _DRAIN:
                threading.Thread(target=self._drained, args=(e,), daemon=True).start()
            else:
                self._pool.submit(self._serve, e)

    def _drained(self, e):
        if self._drain is not None:
            self._drain()
        self._send(_Envelope(kind=_REPLY, call=e.call))

    def _serve(self, e):
        out = _Envelope(kind=_FAILURE, call=e.call, trace=e.trace)
        try:
            service, methods, handler = self._answers.get(e.service, (None, {}, None))
            m = methods.get(e.method)
            if m is None:
                raise Failure(NO_METHOD, "this component has no method %d of service %d" % (e.method, e.service))
            try:
                request = m.request.decode(e.body)
            except Malformed as x:
                raise Failure(INVALID, str(x)) from None
            reply = getattr(handler, m.name)(request, Call(self, e))
            if not m.notice:
                out.body, out.kind = reply.encode(), _REPLY
        except Failure as f:
            out.code, out.detail = f.code or INTERNAL, f.detail[:MAX_DETAIL]
        except Exception:
            print("<3>" + traceback.format_exc().replace("\n", "\n<3>"), file=sys.stderr, flush=True)
            out.code, out.detail = INTERNAL, "the component failed on this request: see its journal"
        if e.kind == _REQUEST:
            try:
                self._send(out)
            except OSError:
                pass  # the SFU is gone, and so are we


def new_id():
    """A fresh id for a transaction, a UUIDv7. The handler of an idempotent method takes the id that its request names."""
    return int(time.time() * 1000) << 80 | 7 << 76 | random.getrandbits(12) << 64 | 2 << 62 | random.getrandbits(62)


def main(agent, setup):
    """Runs a Component and ends the process: with status 0 when the SFU has stopped it. setup gets the Host and tells it
    what the Component answers."""
    fd = os.environ.get("RRTS_SOCKET")
    if fd is None:
        sys.exit("<3>RRTS_SOCKET is not set: this program is started by an SFU, as a file in /etc/rrts/components.d says")
    try:
        host = Host(socket.socket(fileno=int(fd)))
        setup(host)
        host._greet(agent)
        host.ready(True)
        host._run()
    except Exception as x:
        print("<3>%s: %s" % (type(x).__name__, x), file=sys.stderr, flush=True)
        os._exit(1)
    sys.stderr.flush()
    sys.stdout.flush()
    os._exit(0)  # whatever its threads are at: nobody waits for them
