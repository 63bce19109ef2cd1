"""A client of RRTS, written from packaging/doc/protocol.md.

    with rrts.connect("client-kit.toml", "shop-till-1", password) as c:
        outcome = c.submit(c.transfer(debit, credit, 1999, ledger=978, code=1))
        for event in c.events(position): ...

One connection, one thread, no dependency but python3-cryptography for sealed logins.
Requests are sent again, with the same id, through any gateway, until they are answered.
"""
import base64
import hashlib
import hmac
import os
import secrets
import socket
import ssl
import struct
import time
import tomllib

REQUEST, REPLY, FAILURE, NOTICE, PACKED = 1, 2, 3, 4, 5
TXN, LOGIN, GATEWAY = 2, 4, 5
OVERLOADED, NOT_LEADER, EXPIRED, UNAVAILABLE, UNKNOWN, DRAINING, UNSIGNED = 1, 2, 3, 4, 5, 9, 12
AGAIN = {OVERLOADED, NOT_LEADER, EXPIRED, UNAVAILABLE, UNKNOWN, DRAINING, UNSIGNED}
COMMITTED = 1
UNDECIDED = {0, 3, 7, 8, 10}
PENDING, POST, VOID = 2, 4, 8
GUESS = 1
UNSEALED, SEALED = 1, 2  # protocol versions


class Refused(Exception):
    """A gateway's failure: its code and its line for people."""

    def __init__(self, code, detail):
        super().__init__(f"{detail} (code {code})")
        self.code = code


# Protobuf.

def varint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def read_varint(b, i):
    n = shift = 0
    while True:
        x = b[i]
        i += 1
        n |= (x & 0x7F) << shift
        if x < 0x80:
            return n, i
        shift += 7


def number(field, n):
    return varint(field << 3) + varint(n) if n else b""


def data(field, b):
    return varint(field << 3 | 2) + varint(len(b)) + b if b else b""


def text(field, s):
    return data(field, s.encode())


def wide(field, n):
    """A 128-bit number."""
    return data(field, n.to_bytes((n.bit_length() + 7) // 8, "big"))


def fields(b):
    """Yields the fields of a message: number, and int or bytes."""
    i = 0
    while i < len(b):
        tag, i = read_varint(b, i)
        if tag & 7 == 0:
            value, i = read_varint(b, i)
        elif tag & 7 == 2:
            n, i = read_varint(b, i)
            if i + n > len(b):
                raise ValueError("a field ends beyond its message")
            value, i = b[i:i + n], i + n
        elif tag & 7 in (1, 5):
            n = 8 if tag & 7 == 1 else 4
            value, i = int.from_bytes(b[i:i + n], "little"), i + n
        else:
            raise ValueError(f"wire type {tag & 7}")
        yield tag >> 3, value


def parse(b, **names):
    """Reads a message into a dict by name=(field, how): how is int, str, bytes, id, a
    function of the bytes, or [how] for what is repeated."""
    out = {name: [] if isinstance(how, list) else EMPTY.get(how) for name, (_, how) in names.items()}
    known = {field: (name, how) for name, (field, how) in names.items()}
    for field, value in fields(b):
        if field not in known:
            continue
        name, how = known[field]
        if isinstance(how, list):
            out[name].append(READ.get(how[0], how[0])(value))
        else:
            out[name] = READ.get(how, how)(value)
    return out


EMPTY = {int: 0, str: "", bytes: b"", id: 0}
READ = {int: int, str: lambda b: b.decode(), bytes: bytes, id: lambda b: int.from_bytes(b, "big")}


def account(b):
    return parse(b, id=(1, id), debits_pending=(2, id), debits_posted=(3, id), credits_pending=(4, id), credits_posted=(5, id),
                 ledger=(9, int), code=(10, int), flags=(11, int), timestamp=(12, int))


def transfer(b):
    return parse(b, id=(1, id), debit_account_id=(2, id), credit_account_id=(3, id), amount=(4, id), pending_id=(5, id),
                 timeout=(9, int), ledger=(10, int), code=(11, int), flags=(12, int), timestamp=(13, int))


def balance(b):
    return parse(b, debits_pending=(1, id), debits_posted=(2, id), credits_pending=(3, id), credits_posted=(4, id))


def note(b):
    return parse(b, transaction_id=(1, id), memo=(2, str), csn=(4, int))


def event(b):
    return parse(b, csn=(1, int), n=(2, int), timestamp=(3, int), account=(4, account), type=(5, int),
                 transfer=(6, transfer), debit=(7, balance), credit=(8, balance))


def position(b):
    return tuple(parse(b, epoch=(1, int), group=(2, int), csn=(3, int), n=(4, int)).values())


def outcome(b):
    return parse(b, id=(1, id), state=(2, int), csn=(3, int), reason=(5, str))


# Packing.

def guesses():
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "table.bin"), "rb") as f:
        return f.read()


def unpack(body, table, limit=16 << 20):
    """Yields the Envelopes of a packed body."""
    head, i = read_varint(body, 0)
    size, out, bits, before, start, left = head >> 1, bytearray(), 0, 0, 0, 0
    if head & 1 or not 0 < size <= limit:
        raise ValueError("packed in a way that was not offered")
    for n in range(size):
        if n % 8 == 0:
            bits, i = body[i], i + 1
        x = table[(before * 0x9E3779B1 & 0xFFFFFFFF) >> 20]
        if not bits >> n % 8 & 1:
            x, i = body[i], i + 1
        out.append(x)
        before = (before << 8 | x) & 0xFFFF
        if left:
            left -= 1
            if left == 0:
                before, start = 0, len(out)
        elif x < 0x80:  # the end of a length
            left, _ = read_varint(out, start)
    i = 0
    while i < len(out):
        n, i = read_varint(out, i)
        yield bytes(out[i:i + n])
        i += n


def pack(envelopes, table):
    """Packs Envelopes into one, or returns None if that is no shorter."""
    sequence, out, bits, n = [varint(len(e)) + e for e in envelopes], bytearray(), 0, 0
    for frame in sequence:
        before = 0
        for x in frame:
            if n % 8 == 0:
                bits = len(out)
                out.append(0)
            if table[(before * 0x9E3779B1 & 0xFFFFFFFF) >> 20] == x:
                out[bits] |= 1 << n % 8
            else:
                out.append(x)
            before = (before << 8 | x) & 0xFFFF
            n += 1
    packed = number(1, PACKED) + data(15, varint(n << 1) + bytes(out))
    return packed if len(packed) + 4 < sum(len(e) + 4 for e in envelopes) else None


# Sealed logins: HPKE (RFC 9180) in base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.

KEM, KDF, AEAD = 0x0020, 0x0001, 0x0002


def extract(salt, key):
    return hmac.new(salt or bytes(32), key, hashlib.sha256).digest()


def expand(key, info, n):
    out = block = b""
    while len(out) < n:
        block = hmac.new(key, block + info + bytes([len(out) // 32 + 1]), hashlib.sha256).digest()
        out += block
    return out[:n]


def labeled_extract(suite, salt, label, key):
    return extract(salt, b"HPKE-v1" + suite + label + key)


def labeled_expand(suite, key, label, info, n):
    return expand(key, struct.pack(">H", n) + b"HPKE-v1" + suite + label + info, n)


def hpke_seal(public, info, aad, plain, private=None):
    """Returns the encapsulated key and the ciphertext; private is for tests."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    mine = X25519PrivateKey.from_private_bytes(private) if private else X25519PrivateKey.generate()
    enc = mine.public_key().public_bytes_raw()
    kem = b"KEM" + struct.pack(">H", KEM)
    shared = labeled_extract(kem, b"", b"eae_prk", mine.exchange(X25519PublicKey.from_public_bytes(public)))
    shared = labeled_expand(kem, shared, b"shared_secret", enc + public, 32)
    suite = b"HPKE" + struct.pack(">HHH", KEM, KDF, AEAD)
    context = b"\0" + labeled_extract(suite, b"", b"psk_id_hash", b"") + labeled_extract(suite, b"", b"info_hash", info)
    secret = labeled_extract(suite, shared, b"secret", b"")
    key = labeled_expand(suite, secret, b"key", context, 32)
    nonce = labeled_expand(suite, secret, b"base_nonce", context, 12)
    return enc, AESGCM(key).encrypt(nonce, plain, aad)


def read_schema(raw, cluster_id, signer):
    """Returns the SFU, the epoch, the place of our suite and its public key of a login schema
    that the cluster's login services have signed."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    body, signature = raw[:-64], raw[-64:]
    if signer:
        Ed25519PublicKey.from_public_bytes(signer).verify(signature, b"rrts login schema 1\0" + body)
    layout, cluster, sfu, epoch, n = struct.unpack(">B16sHQB", body[:28])
    if layout != 1 or cluster != cluster_id:
        raise ValueError("the login schema is of another cluster")
    at = 28
    for place in range(n):
        kem, kdf, aead, size = struct.unpack(">HHHH", body[at:at + 8])
        public, at = body[at + 8:at + 8 + size], at + 8 + size
        if (kem, kdf, aead) == (KEM, KDF, AEAD):
            return sfu, epoch, place, public
    raise ValueError("the login schema has no suite that this client knows")


class Client:
    """A user's way into a cluster."""

    def __init__(self, kit, login_name, password, packing=True):
        self.kit, self.login_name, self.password = kit, login_name, password
        self.gateways = list(kit["gateways"])
        self.table = guesses() if packing else None
        self.sock = self.token = None
        self.user, self.role, self.public_name = 0, 0, ""
        self.moves = -1  # gateways after the first
        self.ahead = 0   # of ledger time, nanoseconds

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.sock:
            self.sock.close()
            self.sock = None

    # Frames.

    def _send(self, envelope, secret=False):
        if self.packs and not secret:
            envelope = pack([envelope], self.table) or envelope
        self.sock.sendall(struct.pack(">I", len(envelope)) + envelope)

    def _exactly(self, n):
        out = bytearray()
        while len(out) < n:
            piece = self.sock.recv(min(n - len(out), 1 << 16))
            if not piece:
                raise ConnectionError("the gateway closed the connection")
            out += piece
        return bytes(out)

    def _envelope(self):
        while not self.inner:
            n, = struct.unpack(">I", self._exactly(4))
            if not 0 < n <= 17 << 20:
                raise ConnectionError(f"a frame of {n} bytes")
            b = self._exactly(n)
            e = parse(b, kind=(1, int), service=(2, int), method=(3, int), call=(4, int), code=(6, int), detail=(7, str), body=(15, bytes))
            if e["kind"] != PACKED:
                return e
            self.inner = list(unpack(e["body"], self.table))
        return parse(self.inner.pop(0), kind=(1, int), service=(2, int), method=(3, int), call=(4, int), code=(6, int), detail=(7, str), body=(15, bytes))

    def _ask(self, service, method, body, wait, secret=False):
        """Sends one request and waits for its answer."""
        self.number += 1
        self.sock.settimeout(wait)
        self._send(number(1, REQUEST) + number(2, service) + number(3, method) + number(4, self.number)
                   + number(5, int(wait * 1000)) + data(15, body), secret)
        while True:
            e = self._envelope()
            if e["kind"] == NOTICE and e["service"] == GATEWAY:
                if e["method"] == 4:  # Moved: the answer still comes, and the next request goes elsewhere
                    self.leaving = True
                elif e["method"] == 6:
                    why = parse(e["body"], code=(1, int), reason=(2, str))
                    raise ConnectionError(f"the gateway closed the connection: {why['reason']}")
            elif e["call"] != self.number:
                continue  # of a request that nobody waits for any more
            elif e["kind"] == FAILURE:
                raise Refused(e["code"], e["detail"])
            else:
                return e["body"]

    # The beginning of a connection.

    def _open(self):
        self.close()
        address = self.gateways.pop(0)
        self.gateways.append(address)  # the next time, the next one
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        context = ssl.create_default_context(cadata=self.kit["ca"])
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        self.number, self.inner, self.leaving, self.packs = 0, [], False, False
        raw = socket.create_connection((host, int(port)), timeout=3)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(raw, server_hostname=host)
        hello = parse(self._ask(GATEWAY, 1, number(1, SEALED) + text(2, "rrts-python") + number(3, GUESS if self.table else 0), 10, secret=True),
                      protocol=(1, int), challenge=(12, bytes), cluster_id=(3, bytes), ledger_time=(6, int), gateways=(7, [str]), packing=(13, int))
        if hello["cluster_id"].hex() != self.kit["cluster_id"].replace("-", ""):
            raise Refused(0, "this is another cluster than that of the kit")
        self.ahead = hello["ledger_time"] - time.time_ns()
        self.gateways += [g for g in hello["gateways"] if g not in self.gateways]
        self._sign(hello)
        self.packs = self.table is not None and hello["packing"] & GUESS != 0
        self.moves += 1

    def _sign(self, hello):
        if self.token:
            try:
                self._ask(GATEWAY, 2, data(1, self.token), 10, secret=True)
                return
            except Refused as r:
                if r.code != UNSIGNED:
                    raise
                self.token = None
        if hello["protocol"] == UNSEALED:
            if "login_key" in self.kit:
                raise Refused(0, "the gateway takes no sealed logins, and the kit has a login_key")
            reply = self._ask(LOGIN, 1, text(1, self.login_name) + text(2, self.password), 30, secret=True)
        else:
            reply = self._enter(hello)
        reply = parse(reply, token=(1, bytes), user=(2, int), public_name=(3, str), role=(4, int))
        self.token, self.user, self.public_name, self.role = (reply[k] for k in ("token", "user", "public_name", "role"))

    def _enter(self, hello):
        """Logs in with name and password sealed to a login service."""
        signer = base64.b64decode(self.kit["login_key"]) if "login_key" in self.kit else None
        schema = b""
        for _ in range(8):
            if not schema:
                schema = parse(self._ask(LOGIN, 3, b"", 10), schema=(1, bytes))["schema"]
            sfu, epoch, suite, public = read_schema(schema, hello["cluster_id"], signer)
            plain = data(1, secrets.token_bytes(16)) + text(2, self.login_name) + text(3, self.password)
            plain = struct.pack(">H", len(plain)) + plain
            plain += bytes(-len(plain) % 256)
            info = b"rrts sealed login 1\0" + struct.pack(">H", 4) + hashlib.sha256(schema).digest()
            enc, box = hpke_seal(public, info, hello["challenge"], plain)
            reply = self._ask(LOGIN, 4, number(1, sfu) + number(2, epoch) + number(3, suite) + data(4, enc) + data(5, box) + number(8, 1), 30, secret=True)
            schema = parse(reply, schema=(6, bytes))["schema"]
            if not schema:
                return reply
        raise Refused(UNAVAILABLE, "the login services change their keys faster than this client seals")

    def call(self, service, method, body=b"", within=60, wait=10):
        """Asks until there is an answer, through whatever gateway."""
        deadline, pause = time.monotonic() + within, 0.005
        while True:
            try:
                if self.sock is None or self.leaving:
                    self._open()
                return self._ask(service, method, body, wait)
            except Refused as r:
                if r.code not in AGAIN or time.monotonic() > deadline:
                    raise
                if r.code in (DRAINING, UNSIGNED):
                    self.close()
            except (OSError, ValueError, IndexError):  # lost, silent, or not to be understood
                self.close()
                if time.monotonic() > deadline:
                    raise
            time.sleep(pause)
            pause = min(2 * pause, 0.25)

    # Transactions.

    def new_id(self):
        millis = (time.time_ns() + self.ahead) // 1_000_000
        return millis << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)

    def transaction(self, accounts=(), transfers=(), memo="", independent=False):
        """Encodes a transaction under a fresh id. Accounts and transfers are dicts."""
        tx = self.new_id()
        body = wide(1, tx) + number(2, int(independent))
        for a in accounts:
            body += data(3, wide(1, a["id"]) + number(9, a["ledger"]) + number(10, a["code"]) + number(11, a.get("flags", 0)))
        for t in transfers:
            body += data(4, wide(1, t.get("id", 0)) + wide(2, t.get("debit", 0)) + wide(3, t.get("credit", 0)) + wide(4, t["amount"])
                         + wide(5, t.get("pending_id", 0)) + number(9, t.get("timeout", 0)) + number(10, t["ledger"]) + number(11, t["code"])
                         + number(12, t.get("flags", 0)))
        return tx, body + text(9, memo) + number(11, 1)

    def transfer(self, debit, credit, amount, ledger, code, memo=""):
        return self.transaction(transfers=[{"debit": debit, "credit": credit, "amount": amount, "ledger": ledger, "code": code}], memo=memo)

    def submit(self, transaction, within=60):
        """Submits what transaction() made until its outcome is final, and returns that."""
        deadline = time.monotonic() + within
        while True:
            o = outcome(self.call(GATEWAY, 5, transaction[1], within))
            if o["state"] not in UNDECIDED or time.monotonic() > deadline:
                return o
            time.sleep(0.01)

    def status(self, tx):
        return outcome(self.call(TXN, 2, wide(1, tx)))

    # Reading.

    def accounts(self, *ids):
        body = data(1, b"".join(wide(1, i) for i in ids))
        return parse(self.call(TXN, 4, body), accounts=(1, [account]))["accounts"]

    def statement(self, account_id, limit=1000):
        """Yields the lines of an account's statement, with their memos."""
        first = 0
        while True:
            answer = parse(self.call(TXN, 4, data(11, wide(1, account_id) + number(2, first) + number(4, limit))),
                           statement=(7, lambda b: parse(b, more=(4, int), lines=(3, [lambda l: parse(
                               l, timestamp=(1, int), type=(2, int), transfer=(3, transfer), balance=(4, balance), csn=(5, int))]))),
                           notes=(11, [note]))
            memos = {n["csn"]: n["memo"] for n in answer["notes"]}
            for line in answer["statement"]["lines"]:
                yield line | {"memo": memos.get(line["csn"], "")}
                first = line["timestamp"] + 1
            if not answer["statement"]["more"]:
                return

    def events(self, after=(0, 0, 0, 0), follow=True, wait=5):
        """Yields events behind a position; each has its own under "position"."""
        while True:
            where = b"".join(number(i + 1, n) for i, n in enumerate(after))
            body = data(1, where) + number(4, 1000) + number(5, int(wait * 1000) if follow else 0)
            answer = parse(self.call(TXN, 7, body, wait=wait + 5), events=(1, [event]), next=(2, position), end=(3, int), notes=(4, [note]), overruled=(5, int))
            if answer["overruled"]:
                raise Refused(0, f"a forced recovery took back what was told behind {answer['next']}")
            memos = {n["csn"]: n["memo"] for n in answer["notes"]}
            for e in answer["events"]:
                yield e | {"position": answer["next"][:2] + (e["csn"], e["n"]), "memo": memos.get(e["csn"], "")}
            after = answer["next"]
            if answer["end"] and not follow:
                return


def connect(kit_file, login_name, password, packing=True):
    with open(kit_file, "rb") as f:
        c = Client(tomllib.load(f), login_name, password, packing)
    c.call(GATEWAY, 3)
    return c
