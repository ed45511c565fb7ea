"""Buckets and objects through boto3 and by hand: bytes, headers and codes."""

import base64
import hashlib
import re
import zlib
from datetime import datetime, timedelta, timezone

from harness import KIB, MIB, body, check, equal, mac, refused, sha256, sign, signing_key

SIZES = [0, 1, 15, 4 * KIB - 1, 4 * KIB, 128 * KIB - 1, 128 * KIB, 128 * KIB + 1,
         MIB - 1, MIB, MIB + 1, 3 * MIB + 7, 8 * MIB]


@check
def bodies_of_every_size_come_back(server):
    s3, sizes = server.client(), SIZES
    bucket = server.bucket(s3)
    for size in sizes:
        data = body("size", size)
        put = s3.put_object(Bucket=bucket, Key=f"size-{size}", Body=data)
        equal(put["ETag"], f'"{hashlib.md5(data).hexdigest()}"', f"ETag of {size} bytes")
    for size in sizes:
        got = s3.get_object(Bucket=bucket, Key=f"size-{size}")
        equal(got["ContentLength"], size, "Content-Length")
        equal(sha256(got["Body"].read()), sha256(body("size", size)), f"{size} bytes")
        head = s3.head_object(Bucket=bucket, Key=f"size-{size}")
        equal((head["ContentLength"], head["ETag"]), (size, got["ETag"]), "HEAD")


@check
def headers_and_metadata_are_kept(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    sent = {"ContentType": "text/x-test", "CacheControl": "max-age=7", "ContentEncoding": "identity",
            "ContentDisposition": "attachment; filename=a", "ContentLanguage": "de",
            "Metadata": {"one": "1", "two-words": "a b"}}
    before = datetime.now(timezone.utc) - timedelta(seconds=2)
    s3.put_object(Bucket=bucket, Key="kept", Body=b"x", **sent)
    for answer in (s3.get_object(Bucket=bucket, Key="kept"), s3.head_object(Bucket=bucket, Key="kept")):
        equal({name: answer.get(name) for name in sent}, sent, "kept headers")
        if not before <= answer["LastModified"] <= datetime.now(timezone.utc):
            raise AssertionError(f"Last-Modified is {answer['LastModified']}")
    answer = s3.get_object(Bucket=bucket, Key="kept", ResponseContentType="a/b", ResponseCacheControl="no-store")
    equal((answer["ContentType"], answer["CacheControl"]), ("a/b", "no-store"), "overrides")


@check
def ranges_are_exact(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    for size in (1000, 3 * MIB + 17):
        data = body("range", size)
        s3.put_object(Bucket=bucket, Key="r", Body=data)
        table = [("0-0", 0, 1), ("0-", 0, size), ("1-9", 1, 10), (f"{size - 1}-", size - 1, size),
                 ("-1", size - 1, size), (f"-{size + 5}", 0, size), ("5-99999999", 5, size),
                 (f"{size // 2}-{size // 2 + 300}", size // 2, size // 2 + 301)]
        if size > MIB:
            table += [(f"{MIB - 3}-{MIB + 3}", MIB - 3, MIB + 4), (f"{MIB // 2 - 1}-{2 * MIB}", MIB // 2 - 1, 2 * MIB + 1)]
        for text, start, end in table:
            got = s3.get_object(Bucket=bucket, Key="r", Range=f"bytes={text}")
            equal(got["ResponseMetadata"]["HTTPStatusCode"], 206, text)
            equal(got["ContentRange"], f"bytes {start}-{end - 1}/{size}", text)
            equal(sha256(got["Body"].read()), sha256(data[start:end]), f"bytes of {text}")
        refused("InvalidRange", s3.get_object, Bucket=bucket, Key="r", Range=f"bytes={size}-")


@check
def conditions_of_reads_hold(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"abc")["ETag"]
    past, future = datetime(2001, 1, 1, tzinfo=timezone.utc), datetime(2035, 1, 1, tzinfo=timezone.utc)
    for named in ({"IfMatch": etag}, {"IfNoneMatch": '"0"'}, {"IfModifiedSince": past}, {"IfUnmodifiedSince": future}):
        equal(s3.get_object(Bucket=bucket, Key="c", **named)["Body"].read(), b"abc", str(named))
    refused("PreconditionFailed", s3.get_object, Bucket=bucket, Key="c", IfMatch='"0"')
    refused("PreconditionFailed", s3.get_object, Bucket=bucket, Key="c", IfUnmodifiedSince=past)
    refused("304", s3.get_object, Bucket=bucket, Key="c", IfNoneMatch=etag)
    refused("304", s3.head_object, Bucket=bucket, Key="c", IfNoneMatch=etag)


@check
def what_is_deleted_is_gone(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    for size in (10, 300 * KIB):
        s3.put_object(Bucket=bucket, Key="d", Body=body("d", size))
        s3.delete_object(Bucket=bucket, Key="d")
        refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="d")
        refused("404", s3.head_object, Bucket=bucket, Key="d")
        s3.delete_object(Bucket=bucket, Key="d")
        s3.put_object(Bucket=bucket, Key="d", Body=b"again")
        equal(s3.get_object(Bucket=bucket, Key="d")["Body"].read(), b"again", "written again")


@check
def bulk_deletes_say_what_they_did(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    keys = [f"k{number}" for number in range(300)] + ["ü &<>'\"", "x//y", "a", "a/b"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    asked = [{"Key": key} for key in keys[1:]] + [{"Key": "never-there"}]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": asked})
    equal(sorted(item["Key"] for item in done["Deleted"]), sorted(item["Key"] for item in asked), "Deleted")
    equal(done.get("Errors"), None, "Errors")
    left = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(left, ["k0"], "left")
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k0"}], "Quiet": True})
    equal((quiet.get("Deleted"), quiet.get("Errors")), (None, None), "quiet")
    refused("MalformedXML", s3.delete_objects, Bucket=bucket,
            Delete={"Objects": [{"Key": f"k{number}"} for number in range(1001)]})


@check
def documents_of_requests_are_refused_exactly(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="a")["UploadId"]

    def said(method, query, text, key=""):
        status, _, answer = server.signed(method, f"/{bucket}{key}", text, query=query)
        return status, [code.decode() for code in re.findall(rb"<Code>(.*?)</Code>", answer)]

    for method, query, key in (("POST", "delete=", ""), ("PUT", "versioning=", ""), ("PUT", "tagging=", ""), ("PUT", "tagging=", "/a")):
        equal(said(method, query, b"", key), (400, ["MissingRequestBodyError"]), f"nothing for {query}")
        for text in (b"<Other/>", b"<Delete>", b"\xff", b"<!DOCTYPE a [<!ENTITY b 'c'>]><Delete>&b;</Delete>", b"<a>" * 100):
            equal(said(method, query, text, key), (400, ["MalformedXML"]), f"{text[:40]} for {query}")
    equal(said("POST", f"uploadId={upload}", b"", "/a"), (400, ["InvalidRequest"]), "nothing for a completion")

    def bulk(*objects):
        return said("POST", "delete=", ("<Delete>" + "".join(f"<Object>{one}</Object>" for one in objects) + "</Delete>").encode())

    equal(bulk(), (400, ["MalformedXML"]), "no objects")
    equal(bulk("<Key>a</Key><Key>b</Key>"), (400, ["MalformedXML"]), "two keys of one object")
    equal(bulk("<Key>a</Key><VersionId>bad</VersionId>", f"<Key>{'k' * 1025}</Key>", "<Key></Key>", "<Key>a</Key><ETag>0</ETag>",
               "<Key>absent</Key><ETag>*</ETag>", "<Key>a</Key><Size>1</Size>"),
          (200, ["InvalidArgument", "KeyTooLongError", "InvalidArgument", "PreconditionFailed", "NoSuchKey", "NotImplemented"]), "each by itself")
    equal(s3.get_object(Bucket=bucket, Key="a")["Body"].read(), b"x", "what was not deleted")


@check
def buckets_are_made_once_and_leave_empty(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    if bucket not in [item["Name"] for item in s3.list_buckets()["Buckets"]]:
        raise AssertionError("a new bucket is not listed")
    equal(s3.head_bucket(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"], 200, "HEAD bucket")
    equal(s3.get_bucket_location(Bucket=bucket)["LocationConstraint"], None, "location")
    refused("BucketAlreadyOwnedByYou", s3.create_bucket, Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="inside", Body=b"")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="inside")
    s3.delete_bucket(Bucket=bucket)
    refused("404", s3.head_bucket, Bucket=bucket)
    for call in (s3.delete_bucket, s3.list_objects_v2, s3.list_objects):
        refused("NoSuchBucket", call, Bucket=bucket)
    refused("NoSuchBucket", s3.put_object, Bucket=bucket, Key="k", Body=b"x")
    refused("NoSuchBucket", s3.get_object, Bucket=bucket, Key="k")
    s3.create_bucket(Bucket=bucket)
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0, "a bucket made anew")


@check
def wrong_requests_get_exact_codes(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="absent")
    refused("KeyTooLongError", s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"x")
    refused("InvalidDigest", s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5="nonsense")
    wrong = base64.b64encode(hashlib.md5(b"y").digest()).decode()
    refused("BadDigest", s3.put_object, Bucket=bucket, Key="k", Body=b"x", ContentMD5=wrong)
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    status, _, answer = server.signed("PUT", "/UPPER_case")
    equal((status, b"<Code>InvalidBucketName</Code>" in answer), (400, True), f"{answer}")
    status, _, answer = server.signed("PUT", f"/{bucket}/k", b"body", content=sha256(b"other"))
    equal((status, b"<Code>XAmzContentSHA256Mismatch</Code>" in answer), (400, True), f"{answer}")


@check
def checksums_in_headers_are_checked_and_shown(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("sum", 200 * KIB)
    sums = {"CRC32": zlib.crc32(data).to_bytes(4, "big"), "SHA1": hashlib.sha1(data).digest(),
            "SHA256": hashlib.sha256(data).digest()}
    for name, raw in sums.items():
        text = base64.b64encode(raw).decode()
        put = s3.put_object(Bucket=bucket, Key=name, Body=data, **{f"Checksum{name}": text})
        equal(put[f"Checksum{name}"], text, name)
        for read in (s3.get_object, s3.head_object):
            answer = read(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
            equal(answer[f"Checksum{name}"], text, f"{read.__name__} {name}")
        wrong = base64.b64encode(bytes(len(raw))).decode()
        refused("BadDigest", s3.put_object, Bucket=bucket, Key=f"wrong-{name}", Body=data, **{f"Checksum{name}": wrong})
        refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=f"wrong-{name}")


def chunked(data, trailer):
    """A body in unsigned chunks of 64 KiB with one trailer."""
    pieces = [data[at:at + 64 * KIB] for at in range(0, len(data), 64 * KIB)] + [b""]
    text = b"".join(b"%x\r\n%s%s" % (len(piece), piece, b"\r\n" if piece else b"") for piece in pieces)
    return text + trailer + b"\r\n\r\n"


@check
def checksums_in_trailers_are_checked(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("trailer", 300 * KIB)
    for name, right in (("good", True), ("bad", False)):
        value = zlib.crc32(data) ^ (0 if right else 1)
        text = base64.b64encode(value.to_bytes(4, "big"))
        payload = chunked(data, b"x-amz-checksum-crc32:" + text)
        headers = {"content-encoding": "aws-chunked", "x-amz-trailer": "x-amz-checksum-crc32",
                   "x-amz-decoded-content-length": str(len(data))}
        status, answered, answer = server.signed("PUT", f"/{bucket}/{name}", payload, headers,
                                                 content="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        if right:
            equal(status, 200, f"{answer}")
            equal(answered.get("x-amz-checksum-crc32"), text.decode(), "answered checksum")
            got = s3.get_object(Bucket=bucket, Key=name)
            equal(sha256(got["Body"].read()), sha256(data), "the body without its frames")
            equal(got.get("ContentEncoding"), None, "aws-chunked is not kept")
        else:
            equal((status, b"<Code>BadDigest</Code>" in answer), (400, True), f"{answer}")
            refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=name)


@check
def signed_chunks_are_checked_one_by_one(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("chunks", 200 * KIB)
    mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    for name, flip in (("good", False), ("forged", True)):
        headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(data))}
        path = f"/{bucket}/{name}"
        signed = sign("PUT", server.address, path, "", headers, b"", content=mode)
        stamp, previous = signed["x-amz-date"], signed["authorization"].rpartition("=")[2]
        scope, text = f"{stamp[:8]}/us-east-1/s3/aws4_request", b""
        for at in [*range(0, len(data), 64 * KIB), len(data)]:
            piece = data[at:at + 64 * KIB]
            to_sign = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, sha256(b""), sha256(piece)])
            previous = mac(signing_key(stamp[:8]), to_sign).hex()
            sent = bytes([piece[0] ^ 1]) + piece[1:] if flip and at == 64 * KIB else piece
            text += b"%x;chunk-signature=%s\r\n%s\r\n" % (len(sent), previous.encode(), sent)
        status, _, answer = server.plain("PUT", path, text, signed)
        if flip:
            equal((status, b"<Code>SignatureDoesNotMatch</Code>" in answer), (403, True), f"{answer}")
            refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=name)
        else:
            equal(status, 200, f"{answer}")
            equal(sha256(s3.get_object(Bucket=bucket, Key=name)["Body"].read()), sha256(data), name)


@check
def what_is_not_there_yet_says_so(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"stays")
    table = [
        (s3.put_bucket_policy, {"Policy": "{}"}),
        (s3.put_object, {"Key": "sealed", "Body": b"x", "ServerSideEncryption": "AES256"}),
    ]
    for call, named in table:
        answer = refused("NotImplemented", call, Bucket=bucket, **named)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 501, call.__name__)
    equal([item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["k"], "nothing was made")
