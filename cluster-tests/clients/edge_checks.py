"""The wire, byte by byte: what SDKs never send, and what their users see when something is wrong."""

import base64
import contextlib
import hashlib
import http.client
import re
import socket
import threading
import time
import urllib.parse
import zlib
from datetime import datetime, timedelta, timezone

from harness import KIB, MIB, REGION, Server, body, check, equal, mac, refused, sha256, sign, signing_key

DATA = b"hello world"


def head(server, method, path, headers=None, payload=b"", query="", **how):
    """The head of a signed request, without what ends it."""
    signed = sign(method, server.address, path, query, headers or {}, payload, **how)
    target = urllib.parse.quote(path) + (f"?{query}" if query else "")
    return (f"{method} {target} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in signed.items())).encode()


@contextlib.contextmanager
def wire(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        yield connection


class Answer:
    """One answer, read from a connection that may have more."""

    def __init__(self, connection, method="GET"):
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        self.status, self.headers = answer.status, {name.lower(): value for name, value in answer.getheaders()}
        self.body = answer.read()

    @property
    def code(self):
        found = re.search(rb"<Code>(.*?)</Code>", self.body)
        return found[1].decode() if found else ""


def closes(connection):
    """Whether the server has closed its side, after what was read."""
    try:
        return connection.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True


def ask(server, text, method="GET"):
    """Sends bytes on a connection of their own: the answer, and whether it was the last."""
    with wire(server) as connection:
        connection.sendall(text)
        answer = Answer(connection, method)
        connection.settimeout(0.3)
        try:
            return answer, closes(connection)
        except TimeoutError:
            return answer, False


@check
def whoever_may_not_send_is_told_before_the_body(server):
    bucket = server.bucket()
    length = b"Content-Length: 11\r\nExpect: 100-continue\r\n\r\n"
    with wire(server) as connection:
        connection.sendall(head(server, "PUT", f"/{bucket}/k", payload=DATA) + length)
        equal(connection.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n", "the server wants the body")
        connection.sendall(DATA)
        equal(Answer(connection).status, 200, "after the body")
    etag = server.client().head_object(Bucket=bucket, Key="k")["ETag"]
    answer, last = ask(server, head(server, "PUT", f"/{bucket}/empty") + b"Content-Length: 0\r\nExpect: 100-continue\r\n\r\n")
    equal((answer.status, last), (200, True), "who has nothing to send is not told to go on, and botocore would misread the next answer")
    huge = f"Content-Length: {6 << 30}\r\nExpect: 100-continue\r\n\r\n".encode()
    table = [("a wrong secret", head(server, "PUT", f"/{bucket}/k", payload=DATA, secret="wrong") + length, 403, "SignatureDoesNotMatch"),
             ("no such bucket", head(server, "PUT", "/not-there/k", payload=DATA) + length, 404, "NoSuchBucket"),
             ("6 GiB", head(server, "PUT", f"/{bucket}/k", content="UNSIGNED-PAYLOAD") + huge, 400, "EntityTooLarge")]
    for what, key, condition, status, code in [("a key that is there", "k", {"if-none-match": "*"}, 412, "PreconditionFailed"),
                                               ("a version that is there", "k", {"if-none-match": etag}, 412, "PreconditionFailed"),
                                               ("another version", "k", {"if-match": '"0"'}, 412, "PreconditionFailed"),
                                               ("a key that is not there", "absent", {"if-match": "*"}, 404, "NoSuchKey")]:
        table.append((what, head(server, "PUT", f"/{bucket}/{key}", condition, payload=DATA) + length, status, code))
    for what, text, status, code in table:
        answer, last = ask(server, text)
        equal((answer.status, answer.code, last), (status, code, True), what)
    for key, condition in (("k", {"if-match": etag}), ("fresh", {"if-none-match": "*"})):
        with wire(server) as connection:
            connection.sendall(head(server, "PUT", f"/{bucket}/{key}", condition, payload=DATA) + length)
            equal(connection.recv(4096), b"HTTP/1.1 100 Continue\r\n\r\n", f"the server wants {key}")
            connection.sendall(DATA)
            equal(Answer(connection).status, 200, f"{key} after the body")


@check
def a_refused_upload_is_told_why_while_it_sends(server):
    payload, bucket = body("refused", 24 * MIB), server.bucket()
    server.client().put_object(Bucket=bucket, Key="k", Body=DATA)
    for path, headers, status, code in (("/not-there/k", {}, 404, "NoSuchBucket"),
                                        (f"/{bucket}/k", {"if-none-match": "*"}, 412, "PreconditionFailed")):
        with wire(server) as connection:
            connection.sendall(head(server, "PUT", path, headers, content="UNSIGNED-PAYLOAD") + b"Content-Length: %d\r\n\r\n" % len(payload))
            connection.sendall(payload[:4 * MIB])
            answer = Answer(connection)
            equal((answer.status, answer.code, answer.headers["connection"]), (status, code, "close"), "a sixth of 24 MiB")
            connection.sendall(payload[4 * MIB:])


@check
def a_connection_goes_on_after_errors_whose_body_was_read(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    get = head(server, "GET", f"/{bucket}/k") + b"\r\n"
    length = b"Content-Length: 11\r\n\r\n"
    table = [("GET", head(server, "GET", f"/{bucket}/absent") + b"\r\n", 404),
             ("HEAD", head(server, "HEAD", f"/{bucket}/absent") + b"\r\n", 404),
             ("HEAD", b"HEAD /%s/k HTTP/1.1\r\nHost: a\r\n\r\n" % bucket.encode(), 403),
             ("DELETE", head(server, "DELETE", f"/{bucket}/k", {"if-match": '"0"'}) + b"\r\n", 412),
             ("PUT", head(server, "PUT", f"/{bucket}/k", {"if-none-match": "*"}, DATA) + length + DATA, 412),
             ("PUT", head(server, "PUT", f"/{bucket}/k", payload=b"other") + length + DATA, 400),
             ("GET", head(server, "GET", f"/{bucket}/k", {"if-none-match": "*"}) + b"\r\n", 304),
             ("GET", head(server, "GET", f"/{bucket}/k", {"range": "bytes=50-"}) + b"\r\n", 416)]
    with wire(server) as connection:
        for method, text, status in table:
            connection.sendall(text)
            answer = Answer(connection, method)
            equal((answer.status, "connection" in answer.headers), (status, False), f"{text[:60]}")
            if method == "HEAD" or status == 304:
                equal(answer.body, b"", f"{method} {status}")
            connection.sendall(get)
            equal(Answer(connection).body, DATA, f"the next request after {method} {status}")
        connection.sendall(get * 5)
        answers = b""
        while answers.count(DATA) < 5:
            answers += connection.recv(65536)
        equal(answers.count(b"HTTP/1.1 200 OK\r\n"), 5, "pipelined requests")


@check
def errors_are_aws_documents_with_ids(server):
    bucket = server.bucket()
    answer, _ = ask(server, head(server, "GET", f"/{bucket}/a b") + b"\r\n")
    fields = dict(re.findall(r"<(\w+)>([^<]*)</\1>", answer.body.decode()))
    want = {"Code": "NoSuchKey", "Message": "The specified key does not exist.", "Resource": f"/{bucket}/a%20b",
            "RequestId": answer.headers["x-amz-request-id"], "HostId": answer.headers["x-amz-id-2"]}
    equal(fields, want, "the document")
    equal(answer.headers["content-type"], "application/xml", "its type")
    ids = {ask(server, head(server, "GET", f"/{bucket}") + b"\r\n")[0].headers["x-amz-request-id"] for _ in range(5)}
    equal(len(ids), 5, "each request has an id of its own")


@check
def a_version_the_client_has_is_named_again(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    etag = s3.put_object(Bucket=bucket, Key="k", Body=DATA)["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]

    def date(seconds, form="%a, %d %b %Y %H:%M:%S GMT"):
        return (modified + timedelta(seconds=seconds)).strftime(form)

    old = "%A, %d-%b-%y %H:%M:%S GMT"
    table = [({"if-none-match": etag}, 304), ({"if-none-match": f'"x", {etag}'}, 304), ({"if-none-match": f"W/{etag}"}, 304),
             ({"if-none-match": '"x"', "if-modified-since": date(0)}, 200), ({"if-modified-since": date(0)}, 304),
             ({"if-modified-since": date(-1)}, 200), ({"if-modified-since": date(-1, old)}, 200), ({"if-modified-since": date(0, old)}, 304),
             ({"if-modified-since": "yesterday"}, 200), ({"if-unmodified-since": date(0)}, 200), ({"if-unmodified-since": date(-1)}, 412),
             ({"if-match": etag, "if-unmodified-since": date(-9)}, 200), ({"if-match": "*"}, 200), ({"if-match": '"x"'}, 412)]
    for method in ("GET", "HEAD"):
        for headers, status in table:
            answer, _ = ask(server, head(server, method, f"/{bucket}/k", headers) + b"\r\n", method)
            equal(answer.status, status, f"{method} {headers}")
            if status != 412:
                equal((answer.headers["etag"], answer.headers["last-modified"]), (etag, date(0)), f"{method} {headers}")


@check
def ranges_that_cannot_be_met_are_exact(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=DATA)
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    whole, part = (200, DATA), lambda start, end: (206, DATA[start:end])
    table = [("bytes=-0", (416, None)), ("bytes=11-", (416, None)), ("bytes=0-1,3-4", whole), ("bytes=5-2", whole), ("bytes=x-y", whole),
             ("items=0-1", whole), ("bytes=0-99999999999999999999999", part(0, 11)), ("bytes=-99999999999999999999", part(0, 11)),
             ("bytes=10-10", part(10, 11)), ("bytes=-1", part(10, 11))]
    for text, (status, data) in table:
        answer, _ = ask(server, head(server, "GET", f"/{bucket}/k", {"range": text}) + b"\r\n")
        equal((answer.status, answer.code if status == 416 else answer.body), (status, "InvalidRange" if status == 416 else data), text)
        equal(status != 416 or answer.headers["content-range"] == "bytes */11", True, f"{text}: what there is")
    for text in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        answer, _ = ask(server, head(server, "GET", f"/{bucket}/empty", {"range": text}) + b"\r\n")
        equal((answer.status, answer.code), (416, "InvalidRange"), f"{text} of nothing")


@check
def requests_that_two_readers_would_read_differently_are_refused(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    put = head(server, "PUT", f"/{bucket}/smuggled", payload=DATA)
    chunks, host = b"b\r\nhello world\r\n0\r\n\r\n", b"Host: a\r\n"
    table = [("a length and chunks", put + b"Content-Length: 11\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks),
             ("two lengths", put + b"Content-Length: 11\r\nContent-Length: 12\r\n\r\n" + DATA),
             ("a list of lengths", put + b"Content-Length: 11, 11\r\n\r\n" + DATA),
             ("a signed length", put + b"Content-Length: +11\r\n\r\n" + DATA),
             ("an unknown coding", put + b"Transfer-Encoding: xchunked\r\n\r\n" + chunks),
             ("two codings", put + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n" + chunks),
             ("a blank before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n"),
             ("a folded line", b"GET / HTTP/1.1\r\n" + host + b"X: a\r\n b\r\n\r\n"),
             ("a bare carriage return", b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"),
             ("no host", b"GET / HTTP/1.1\r\n\r\n"),
             ("two hosts", b"GET / HTTP/1.1\r\n" + host + host + b"\r\n"),
             ("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n"),
             ("300 headers", b"GET / HTTP/1.1\r\n" + host + b"X: y\r\n" * 300 + b"\r\n"),
             ("a head of 70 KiB", b"GET / HTTP/1.1\r\n" + host + b"X: " + b"y" * 70000 + b"\r\n\r\n"),
             ("a target of 70 KiB", b"GET /" + b"y" * 70000 + b" HTTP/1.1\r\n" + host + b"\r\n")]
    for what, text in table:
        answer, last = ask(server, text + b"GET /minio/health/live HTTP/1.1\r\nHost: a\r\n\r\n")
        equal((answer.status in (400, 411, 431), last), (True, True), f"{what}: {answer.status}")
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0, "nothing was made")
    answer, _ = ask(server, head(server, "PUT", f"/{bucket}/chunks", payload=DATA) + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    equal((answer.status, answer.code), (411, "MissingContentLength"), "chunks without a length")


@check
def a_body_that_breaks_off_leaves_nothing(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    for size in (11, 3 * MIB):
        payload = body("torn", size)
        with wire(server) as connection:
            connection.sendall(head(server, "PUT", f"/{bucket}/k", payload=payload) + b"Content-Length: %d\r\n\r\n" % size)
            connection.sendall(payload[:size // 2])
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"before", "the version before")
        time.sleep(0.5)


@check
def keys_are_bytes_whatever_path_they_look_like(server):
    s3 = server.client()
    bucket = server.bucket(s3)

    def put(path):
        target = f"/{bucket}{path}"
        quote = urllib.parse.quote
        urllib.parse.quote = lambda text, *_: text  # The path is signed as it is sent.
        try:
            signed = sign("PUT", server.address, target, "", {}, DATA)
        finally:
            urllib.parse.quote = quote
        lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
        return ask(server, f"PUT {target} HTTP/1.1\r\n{lines}Content-Length: 11\r\n\r\n".encode() + DATA)[0]

    good = {"/..": "..", "/../..//": "../..//", "/%2e%2e/x": "../x", "/a%2Fb": "a/b", "//": "/", "/+": "+", "/a%20b": "a b",
            "/a%0Ab": "a\nb", "/%7F": "\x7f", "/%EF%BF%BF": "\uffff", "/%E2%80%AE": "\u202e", "/" + "%C3%BC" * 512: "ü" * 512}
    for path in good:
        equal(put(path).status, 200, path[:40])
    bad = {"/a%00b": "InvalidArgument", "/%FF": "InvalidURI", "/%zz": "InvalidURI", "/%": "InvalidURI", "/%ED%A0%80": "InvalidURI",
           "/" + "%C3%BC" * 513: "KeyTooLongError"}
    for path, code in bad.items():
        answer = put(path)
        equal((answer.status, answer.code), (400, code), path[:40])
    listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(listed, sorted(good.values(), key=str.encode), "all keys, in the order of their bytes")
    for key in good.values():
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), DATA, f"{key[:20]!r}")


@check
def buckets_are_hosts_below_a_domain():
    with Server(variables={"SARSEN_DOMAIN": "s3.example.org"}) as server:
        bucket = server.bucket()
        lengths = b"Content-Length: 11\r\n\r\n"

        def virtual(method, host, path, payload=b"", query=""):
            signed = sign(method, host, path, query, {}, payload)
            lines = "".join(f"{name}: {value}\r\n" for name, value in signed.items())
            return f"{method} {urllib.parse.quote(path)}{'?' + query if query else ''} HTTP/1.1\r\n{lines}".encode()

        host = f"{bucket}.s3.example.org"
        answer, _ = ask(server, virtual("PUT", host, "/dir/ü", DATA) + lengths + DATA)
        equal(answer.status, 200, "PUT to a virtual host")
        answer, _ = ask(server, virtual("GET", f"{host}:9000", "/dir/ü") + b"\r\n")
        equal((answer.status, answer.body), (200, DATA), "GET with a port")
        answer, _ = ask(server, virtual("GET", host, "/", query="list-type=2") + b"\r\n")
        equal((answer.status, b"<Key>dir/\xc3\xbc</Key>" in answer.body), (200, True), "a list")
        for host in ("s3.example.org", "minio.s3.example.org"):
            answer, _ = ask(server, virtual("GET", host, f"/{bucket}/dir/ü") + b"\r\n")
            equal((answer.status, answer.body), (200, DATA), f"path style at {host}")
        equal(server.client().get_object(Bucket=bucket, Key="dir/ü")["Body"].read(), DATA, "path style elsewhere")


SUMS = {"crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"), "crc32c": lambda data: crc(data, 0x82F63B78, 32),
        "crc64nvme": lambda data: crc(data, 0x9A6C9329AC4BC9B5, 64), "sha1": lambda data: hashlib.sha1(data).digest(),
        "sha256": lambda data: hashlib.sha256(data).digest()}


def crc(data, polynomial, bits):
    """A reflected CRC, bit by bit, apart from any library."""
    ones = (1 << bits) - 1
    value = ones
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
    return (value ^ ones).to_bytes(bits // 8, "big")


def framed(data, signed, trailer, mode, spoil=None):
    """A body of aws-chunked under the head that was signed; `spoil` is the part that is forged."""
    stamp, previous = signed["x-amz-date"], signed["authorization"].rpartition("=")[2]
    key, scope, text = signing_key(stamp[:8]), f"{stamp[:8]}/{REGION}/s3/aws4_request", b""
    is_signed = "UNSIGNED" not in mode

    def next_signature(*words):
        return mac(key, "\n".join([words[0], stamp, scope, previous, *words[1:]])).hex()

    for number, at in enumerate([*range(0, len(data), 8 * KIB), len(data)]):
        piece = data[at:at + 8 * KIB]
        if is_signed:
            previous = next_signature("AWS4-HMAC-SHA256-PAYLOAD", sha256(b""), sha256(piece))
        shown = previous[::-1] if spoil == number else previous
        text += b"%x" % len(piece) + (f";chunk-signature={shown}".encode() if is_signed else b"") + b"\r\n"
        text += piece + (b"\r\n" if piece or not trailer else b"")
    if trailer:
        text += trailer + b"\r\n"
        if is_signed:
            previous = next_signature("AWS4-HMAC-SHA256-TRAILER", sha256(trailer + b"\n"))
            shown = previous[::-1] if spoil == "trailer" else previous
            text += f"x-amz-trailer-signature:{shown}\r\n".encode()
        text += b"\r\n"
    return text


@check
def every_checksum_is_checked_in_headers_and_trailers(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("sums", 20 * KIB)
    for name, compute in SUMS.items():
        right = base64.b64encode(compute(data)).decode()
        for value, status in ((right, 200), (base64.b64encode(compute(data + b"!")).decode(), 400)):
            path, field = f"/{bucket}/{name}", f"x-amz-checksum-{name}"
            headers = {field: value}
            answers = [server.signed("PUT", path, data, headers)]
            for mode in ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"):
                headers = {"content-encoding": "aws-chunked", "x-amz-trailer": field, "x-amz-decoded-content-length": str(len(data))}
                signed = sign("PUT", server.address, path, "", headers, b"", content=mode)
                answers.append(server.plain("PUT", path, framed(data, signed, f"{field}:{value}".encode(), mode), signed))
            for answer in answers:
                equal((answer[0], b"<Code>BadDigest</Code>" in answer[2]), (status, status == 400), f"{name} {value}")
            if status == 400:
                continue
            answer = server.signed("GET", path, headers={"x-amz-checksum-mode": "ENABLED"})
            equal((answer[1].get(field), answer[2] == data, "content-encoding" in answer[1]), (right, True, False), name)
    status, _, answer = server.signed("PUT", f"/{bucket}/none", data, {"x-amz-trailer": "x-amz-meta-a"})
    equal((status, b"<Code>InvalidRequest</Code>" in answer), (400, True), "an unknown trailer")


@check
def frames_that_do_not_add_up_are_refused(server):
    bucket = server.bucket()
    right = b"x-amz-checksum-crc32:" + base64.b64encode(zlib.crc32(b"hello").to_bytes(4, "big")) + b"\r\n"
    table = [(b"5\r\nhello\r\n0\r\n" + right + b"\r\n", 200, ""), (b"6\r\nhello!\r\n0\r\n" + right + b"\r\n", 400, "IncompleteBody"),
             (b"4\r\nhell\r\n0\r\n" + right + b"\r\n", 400, "IncompleteBody"), (b"5\r\nhello\r\n0\r\n" + right, 400, "IncompleteBody"),
             (b"5\r\nhello\r\n0\r\n\r\n", 400, "MalformedTrailerError"), (b"5\r\nhello\r\n0\r\n" + right * 2 + b"\r\n", 400, "MalformedTrailerError"),
             (b"5\r\nhello\r\n0\r\n" + right + b"x-other:1\r\n\r\n", 400, "MalformedTrailerError"),
             (b"5\r\nhello\r\n0\r\n" + right + b"\r\nmore", 400, "InvalidRequest"), (b"f" * 18 + b"\r\nhello\r\n", 400, "InvalidRequest"),
             (b"-5\r\nhello\r\n0\r\n\r\n", 400, "InvalidRequest"), (b"5\nhello\n0\n\n", 400, "InvalidRequest"),
             (b"5;" + b"a" * 100_000 + b"\r\nhello\r\n", 400, "InvalidRequest")]
    headers = {"content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": "5"}
    for text, status, code in table:
        signed = sign("PUT", server.address, f"/{bucket}/k", "", headers, b"", content="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        answer = server.plain("PUT", f"/{bucket}/k", text, signed)
        found = re.search(rb"<Code>(.*?)</Code>", answer[2])
        equal((answer[0], found[1].decode() if found else ""), (status, code), f"{text[:60]}")
    equal(server.client().get_object(Bucket=bucket, Key="k")["Body"].read(), b"hello", "what was right")


@check
def forged_chunks_and_trailers_are_refused(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("forged", 20 * KIB)
    mode, trailer = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", b"x-amz-checksum-crc32:" + base64.b64encode(zlib.crc32(data).to_bytes(4, "big"))
    headers = {"content-encoding": "gzip,aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32", "x-amz-decoded-content-length": str(len(data))}
    for spoil in (0, 1, 2, 3, "trailer", None):
        path = f"/{bucket}/{spoil}"
        signed = sign("PUT", server.address, path, "", headers, b"", content=mode)
        status, _, answer = server.plain("PUT", path, framed(data, signed, trailer, mode, spoil), signed)
        if spoil is None:
            equal((status, s3.get_object(Bucket=bucket, Key="None")["ContentEncoding"]), (200, "gzip"), "nothing forged")
        else:
            equal((status, b"<Code>SignatureDoesNotMatch</Code>" in answer), (403, True), f"{spoil}: {answer}")
            refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=f"{spoil}")
    signed = sign("PUT", server.address, f"/{bucket}/short", "", {**headers, "x-amz-decoded-content-length": "20481"}, b"", content=mode)
    status, _, answer = server.plain("PUT", f"/{bucket}/short", framed(data, signed, trailer, mode), signed)
    equal((status, b"<Code>IncompleteBody</Code>" in answer), (400, True), f"a byte too few: {answer}")


@check
def a_client_that_falls_silent_does_not_keep_its_turn():
    with Server(flags=["--idle-timeout", "2s"], variables={"MINIO_API_REQUESTS_MAX": "2", "MINIO_API_REQUESTS_DEADLINE": "300ms"}) as server:
        bucket = server.bucket()
        put = head(server, "PUT", f"/{bucket}/slow", content="UNSIGNED-PAYLOAD") + b"Content-Length: 100000\r\n\r\n"
        with wire(server) as silent, wire(server) as dribbling:
            silent.sendall(put)
            dribbling.sendall(put)
            # Both turns are taken: the door says so, and soon they are free again.
            time.sleep(0.5)
            answer, last = ask(server, head(server, "GET", f"/{bucket}") + b"\r\n")
            equal((answer.status, answer.code, last), (503, "SlowDown", True), "no turn left")
            stop = threading.Event()

            def dribble():
                with contextlib.suppress(OSError):
                    while not stop.wait(0.2):
                        dribbling.sendall(b"x")

            thread = threading.Thread(target=dribble)
            thread.start()
            for connection in (silent, dribbling):
                answer = Answer(connection)
                equal((answer.status, answer.code), (400, "RequestTimeout"), "too slow")
            stop.set()
            thread.join()
        equal(server.client().list_objects_v2(Bucket=bucket)["KeyCount"], 0, "turns are free again")


@check
def memory_stays_bounded_when_everybody_comes_at_once():
    with Server(variables={"MINIO_API_REQUESTS_MAX": "8", "MINIO_API_REQUESTS_DEADLINE": "200ms"}) as server:
        bucket = server.bucket()
        put = head(server, "PUT", f"/{bucket}/k", content="UNSIGNED-PAYLOAD") + b"Content-Length: 67108864\r\n\r\n"
        with contextlib.ExitStack() as stack:
            crowd = [stack.enter_context(wire(server)) for _ in range(300)]
            for connection in crowd:
                connection.sendall(put + b"x" * (64 * KIB))
            codes = []
            time.sleep(2)
            for connection in crowd:
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    codes.append(Answer(connection).code)
            equal(set(codes), {"SlowDown"}, "what the crowd was told")
            if len(codes) < 280:
                raise AssertionError(f"only {len(codes)} of 292 were told")
            memory = int(re.search(r"VmRSS:\s+(\d+)", open(f"/proc/{server.process.pid}/status").read())[1])
            if memory > 200 * KIB:
                raise AssertionError(f"{memory} KiB resident with 300 uploads at the door")


@check
def presigned_urls_are_only_what_was_signed(server):
    s3 = server.client(signature_version="s3v4")
    bucket, data = server.bucket(s3), body("signed", 1000)
    s3.put_object(Bucket=bucket, Key="k", Body=data)

    def url(call="get_object", seconds=60, **named):
        parts = urllib.parse.urlsplit(s3.generate_presigned_url(call, {"Bucket": bucket, "Key": "k", **named}, seconds))
        return f"{parts.path}?{parts.query}"

    def code(target, method="GET", payload=None, headers=None):
        status, _, text = server.plain(method, target, payload, headers)
        return status, re.search(rb"<Code>(.*?)</Code>", text)[1].decode() if status >= 400 else ""

    shown = {"ResponseContentType": "text/x", "ResponseContentLanguage": "de", "ResponseExpires": datetime(2030, 1, 1, tzinfo=timezone.utc),
             "ResponseCacheControl": "no-store", "ResponseContentDisposition": 'attachment; filename="a b"', "ResponseContentEncoding": "x"}
    status, headers, got = server.plain("GET", url(**shown))
    equal((status, got), (200, data), "all overrides")
    equal([headers.get(name) for name in ("content-type", "content-language", "cache-control", "content-disposition", "content-encoding")],
          ["text/x", "de", "no-store", 'attachment; filename="a b"', "x"], "overridden headers")
    good = url(**shown)
    equal(code(good.replace("text%2Fx", "text%2Fhtml"))[1], "SignatureDoesNotMatch", "another type")
    equal(code(good + "&response-content-type=text%2Fhtml")[1], "SignatureDoesNotMatch", "a further parameter")
    equal(code(url() + "&versionId=null")[1], "SignatureDoesNotMatch", "another version")
    equal(code(url(seconds=604801))[0], 400, "longer than a week")
    equal(code(url("put_object", ContentType="text/plain"), "PUT", data, {"Content-Type": "text/html"})[1], "SignatureDoesNotMatch", "another header")
    equal(code(url("put_object", ContentType="text/plain"), "PUT", data, {"Content-Type": "text/plain"})[0], 200, "the header that was signed")
    status, _, answer = server.signed("GET", f"/{bucket}/k", query="response-content-type=a%2Fb")
    equal(status, 200, f"overrides need a signature, in headers too: {answer}")
    equal(code(f"/{bucket}/k?response-content-type=a%2Fb")[1], "AccessDenied", "and nobody's request has none")
