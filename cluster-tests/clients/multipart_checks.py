"""Multipart uploads: real sizes, lists, checksums, copies, and many clients at once."""

import base64
import concurrent.futures
import hashlib
import io
import threading
import time
import zlib

from boto3.s3.transfer import TransferConfig
from harness import MIB, Server, body, check, equal, refused

PART = 5 * MIB


def begin(s3, bucket, key, **named):
    return s3.create_multipart_upload(Bucket=bucket, Key=key, **named)["UploadId"]


def send(s3, bucket, key, upload, parts, **named):
    """Uploads `parts` (number -> bytes); returns what completes them."""
    done = []
    for number, data in sorted(parts.items()):
        answer = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=data, **named)
        sums = {name: value for name, value in answer.items()
                if name.startswith("Checksum") and name != "ChecksumType"}
        done.append({"PartNumber": number, "ETag": answer["ETag"], **sums})
    return done


def finish(s3, bucket, key, upload, done, **named):
    return s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload,
                                        MultipartUpload={"Parts": done}, **named)


def etag_of(parts):
    digests = b"".join(hashlib.md5(data).digest() for _, data in sorted(parts.items()))
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'


class Repeated(io.RawIOBase):
    """A long file of random bytes that needs no memory."""

    def __init__(self, size):
        self.block, self.size, self.at = body("repeated", MIB + 1), size, 0

    def readable(self):
        return True

    def readinto(self, out):
        count = min(len(out), self.size - self.at, len(self.block) - self.at % len(self.block))
        start = self.at % len(self.block)
        out[:count] = self.block[start:start + count]
        self.at += count
        return count


class Digest:
    """A file to download into, at any offset, whose hash is wanted."""

    def __init__(self):
        self.sha, self.size = hashlib.sha256(), 0

    def write(self, data):
        self.sha.update(data)
        self.size += len(data)


@check
def a_gibibyte_goes_up_and_comes_down(server):
    bucket, s3, size = server.bucket(), server.client(), 1024 * MIB
    config = TransferConfig(max_concurrency=4)
    s3.upload_fileobj(io.BufferedReader(Repeated(size), MIB), bucket, "big", Config=config)
    head = s3.head_object(Bucket=bucket, Key="big")
    equal(head["ContentLength"], size, "size")
    equal(head["ETag"].endswith('-128"'), True, f"ETag {head['ETag']}")
    want, source = hashlib.sha256(), Repeated(size)
    for piece in iter(lambda: source.read(MIB), b""):
        want.update(piece)
    down = server.home / "big"
    s3.download_file(bucket, "big", str(down), Config=config)
    got = hashlib.sha256()
    with open(down, "rb") as file:
        for piece in iter(lambda: file.read(MIB), b""):
            got.update(piece)
    down.unlink()
    equal(got.hexdigest(), want.hexdigest(), "1 GiB down with 4 threads")
    got = Digest()
    for piece in s3.get_object(Bucket=bucket, Key="big")["Body"].iter_chunks(MIB):
        got.write(piece)
    equal((got.sha.hexdigest(), got.size), (want.hexdigest(), size), "1 GiB down in one GET")
    s3.delete_object(Bucket=bucket, Key="big")


@check
def parts_are_listed_replaced_and_completed(server):
    bucket, s3 = server.bucket(), server.client()
    upload = begin(s3, bucket, "k/ü", ContentType="text/x", Metadata={"colour": "grey"})
    parts = {1: body("1", PART), 7: body("7", PART + 1), 10_000: b"end"}
    send(s3, bucket, "k/ü", upload, {7: body("old", PART)})
    done = send(s3, bucket, "k/ü", upload, parts)
    listed = s3.list_parts(Bucket=bucket, Key="k/ü", UploadId=upload)
    equal([(part["PartNumber"], part["Size"], part["ETag"]) for part in listed["Parts"]],
          [(part["PartNumber"], len(parts[part["PartNumber"]]), part["ETag"]) for part in done], "list_parts")
    page = s3.list_parts(Bucket=bucket, Key="k/ü", UploadId=upload, MaxParts=1, PartNumberMarker=1)
    equal([page["IsTruncated"], page["NextPartNumberMarker"], page["Parts"][0]["PartNumber"]], [True, 7, 7], "a page")
    pages = s3.get_paginator("list_parts").paginate(Bucket=bucket, Key="k/ü", UploadId=upload, MaxParts=1)
    equal([part["PartNumber"] for page in pages for part in page.get("Parts", [])], [1, 7, 10_000], "pages")
    equal("Contents" in s3.list_objects_v2(Bucket=bucket), False, "a list of objects shows no upload")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k/ü")
    answer = finish(s3, bucket, "k/ü", upload, done)
    equal(answer["ETag"], etag_of(parts), "ETag")
    whole = b"".join(parts.values())
    got = s3.get_object(Bucket=bucket, Key="k/ü")
    equal(got["Body"].read() == whole, True, "bytes")
    equal((got["ContentType"], got["Metadata"]), ("text/x", {"colour": "grey"}), "headers")
    seam = s3.get_object(Bucket=bucket, Key="k/ü", Range=f"bytes={PART - 2}-{PART + 2}")
    equal(seam["Body"].read(), whole[PART - 2:PART + 3], "across the parts")
    again = finish(s3, bucket, "k/ü", upload, done)
    equal(again["ETag"], answer["ETag"], "completed again")
    for call, named in [(s3.list_parts, {}), (s3.abort_multipart_upload, {}),
                        (s3.upload_part, {"PartNumber": 1, "Body": b""})]:
        refused("NoSuchUpload", call, Bucket=bucket, Key="k/ü", UploadId=upload, **named)


@check
def odd_completions_are_refused(server):
    bucket, s3 = server.bucket(), server.client()
    upload = begin(s3, bucket, "k")
    done = send(s3, bucket, "k", upload, {1: b"small", 2: body("2", PART), 3: b"last"})
    one, two, three = done
    for code, named in [("EntityTooSmall", done), ("InvalidPartOrder", [three, two]), ("InvalidPartOrder", [two, two]),
                        ("InvalidPart", [{**two, "ETag": one["ETag"]}]), ("InvalidPart", [two, {**three, "PartNumber": 4}]),
                        ("MalformedXML", [])]:
        refused(code, finish, s3, bucket, "k", upload, named)
    for bad in ("x", "null", "00000000-0000-0001-0000-000000000001"):
        refused("NoSuchUpload", s3.list_parts, Bucket=bucket, Key="k", UploadId=bad)
        refused("NoSuchUpload", finish, s3, bucket, "k", bad, [two])
    refused("NoSuchUpload", s3.list_parts, Bucket=bucket, Key="other", UploadId=upload)
    refused("InvalidArgument", s3.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=10_001, Body=b"")
    refused("InvalidRequest", finish, s3, bucket, "k", upload, [two], MpuObjectSize=5)
    unquoted = [{**part, "ETag": part["ETag"].strip('"')} for part in (two, three)]
    finish(s3, bucket, "k", upload, unquoted, MpuObjectSize=PART + 4)
    equal(s3.head_object(Bucket=bucket, Key="k")["ContentLength"], PART + 4, "a subset of the parts")
    empty = begin(s3, bucket, "empty")
    finish(s3, bucket, "empty", empty, send(s3, bucket, "empty", empty, {5: b""}))
    equal(s3.get_object(Bucket=bucket, Key="empty")["Body"].read(), b"", "one empty part")


@check
def an_aborted_upload_is_gone_and_frees_its_space(server):
    bucket, s3 = server.bucket(), server.client()
    upload = begin(s3, bucket, "k")
    before = stored(server)
    send(s3, bucket, "k", upload, {number: body(str(number), PART) for number in range(1, 5)})
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", s3.list_parts, Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", s3.abort_multipart_upload, Bucket=bucket, Key="k", UploadId=upload)
    for _ in range(100):
        if stored(server) <= before:
            break
        threading.Event().wait(0.1)
    equal(stored(server) <= before, True, "shard files after an abort")
    s3.delete_bucket(Bucket=bucket)


def stored(server):
    return sum(path.stat().st_size for drive in server.drives for path in (drive / "shards").rglob("*") if path.is_file())


@check
def checksums_of_parts_make_that_of_the_object(server):
    bucket, s3 = server.bucket(), server.client()
    parts = {1: body("a", PART), 2: body("b", 1000)}
    whole = b"".join(parts.values())
    sums = {"CRC32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
            "SHA1": lambda data: hashlib.sha1(data).digest(), "SHA256": lambda data: hashlib.sha256(data).digest()}
    for algorithm, of in sums.items():
        key = f"composite-{algorithm}"
        upload = begin(s3, bucket, key, ChecksumAlgorithm=algorithm)
        done = send(s3, bucket, key, upload, parts, ChecksumAlgorithm=algorithm)
        listed = s3.list_parts(Bucket=bucket, Key=key, UploadId=upload)
        equal((listed["ChecksumAlgorithm"], listed["ChecksumType"]), (algorithm, "COMPOSITE"), key)
        field = f"Checksum{algorithm}"
        equal([part[field] for part in listed["Parts"]], [part[field] for part in done], key)
        bare = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in done]
        refused("InvalidRequest", finish, s3, bucket, key, upload, bare)
        wrong = base64.b64encode(of(b"x")).decode()
        refused("InvalidPart", finish, s3, bucket, key, upload, [{**done[0], field: wrong}, done[1]])
        answer = finish(s3, bucket, key, upload, done)
        made = base64.b64encode(of(b"".join(of(data) for data in parts.values()))).decode()
        equal((answer[field], answer["ChecksumType"]), (f"{made}-2", "COMPOSITE"), key)
        head = s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        equal((head[field], head["ChecksumType"]), (f"{made}-2", "COMPOSITE"), f"head {key}")
    upload = begin(s3, bucket, "full", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    done = send(s3, bucket, "full", upload, parts, ChecksumAlgorithm="CRC32")
    want = base64.b64encode(zlib.crc32(whole).to_bytes(4, "big")).decode()
    refused("BadDigest", finish, s3, bucket, "full", upload, done, ChecksumCRC32="AAAAAA==", ChecksumType="FULL_OBJECT")
    refused("InvalidRequest", finish, s3, bucket, "full", upload, done, ChecksumType="COMPOSITE")
    answer = finish(s3, bucket, "full", upload, done, ChecksumCRC32=want, ChecksumType="FULL_OBJECT")
    equal((answer["ChecksumCRC32"], answer["ChecksumType"]), (want, "FULL_OBJECT"), "full object")
    refused("InvalidRequest", begin, s3, bucket, "k", ChecksumAlgorithm="SHA256", ChecksumType="FULL_OBJECT")
    upload = begin(s3, bucket, "k", ChecksumAlgorithm="SHA256")
    refused("InvalidRequest", s3.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x",
            ChecksumAlgorithm="CRC32")
    refused("BadDigest", s3.upload_part, Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x",
            ChecksumSHA256=base64.b64encode(bytes(32)).decode())
    refused("BadDigest", s3.upload_part, Bucket=bucket, Key="k", UploadId=begin(s3, bucket, "k"), PartNumber=1,
            Body=b"x", ContentMD5=base64.b64encode(bytes(16)).decode())


@check
def uploads_are_listed_in_pages(server):
    bucket, s3 = server.bucket(), server.client()
    begun = [(key, begin(s3, bucket, key)) for key in ("b", "a/2", "a", "a/1", "a", "x y+ü", "a")]
    begun.sort(key=lambda pair: pair[0].encode())
    listed = s3.list_multipart_uploads(Bucket=bucket)
    equal([(upload["Key"], upload["UploadId"]) for upload in listed["Uploads"]], begun, "all")
    equal(listed["Uploads"][0]["StorageClass"], "STANDARD", "storage class")
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, MaxUploads=2)
    equal([(upload["Key"], upload["UploadId"]) for page in pages for upload in page["Uploads"]], begun, "in pages")
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    equal(([upload["Key"] for upload in rolled["Uploads"]], rolled["CommonPrefixes"]),
          (["a", "a", "a", "b", "x y+ü"], [{"Prefix": "a/"}]), "with a delimiter")
    behind = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="a", Prefix="a")
    equal([upload["Key"] for upload in behind["Uploads"]], ["a/1", "a/2"], "behind a key")
    within = s3.list_multipart_uploads(Bucket=bucket, KeyMarker="a", UploadIdMarker=begun[0][1], MaxUploads=1)
    equal((within["Uploads"][0]["UploadId"], within["IsTruncated"]), (begun[1][1], True), "behind an upload")
    s3.delete_bucket(Bucket=bucket)
    refused("NoSuchBucket", s3.list_multipart_uploads, Bucket=bucket)


@check
def parts_are_read_by_their_number(server):
    bucket, s3 = server.bucket(), server.client()
    upload = begin(s3, bucket, "k")
    parts = {2: body("2", PART), 3: body("3", PART + 5), 9: b"end"}
    finish(s3, bucket, "k", upload, send(s3, bucket, "k", upload, parts))
    start, size = 0, sum(map(len, parts.values()))
    for number, data in enumerate(parts.values(), 1):
        got = s3.get_object(Bucket=bucket, Key="k", PartNumber=number)
        equal(got["Body"].read() == data, True, f"part {number}")
        end = start + len(data)
        head = s3.head_object(Bucket=bucket, Key="k", PartNumber=number)
        equal((head["ContentLength"], head["PartsCount"], got["PartsCount"]), (len(data), 3, 3), f"part {number}")
        equal(got["ContentRange"], f"bytes {start}-{end - 1}/{size}", f"part {number}")
        start = end
    refused("InvalidPartNumber", s3.get_object, Bucket=bucket, Key="k", PartNumber=4)
    s3.put_object(Bucket=bucket, Key="whole", Body=b"whole")
    whole = s3.get_object(Bucket=bucket, Key="whole", PartNumber=1)
    equal((whole["Body"].read(), "PartsCount" in whole), (b"whole", False), "an object written whole")


@check
def of_completions_on_condition_exactly_one_wins(server):
    bucket, threads = server.bucket(), 8
    clients = [server.client() for _ in range(threads)]
    ready = threading.Barrier(threads)

    def race(number):
        s3, data = clients[number], body(f"racer {number}", PART)
        upload = begin(s3, bucket, "k")
        done = send(s3, bucket, "k", upload, {1: data})
        ready.wait()
        try:
            finish(s3, bucket, "k", upload, done, IfNoneMatch="*")
            return data
        except s3.exceptions.ClientError as error:
            equal(error.response["Error"]["Code"], "PreconditionFailed", "a loser")
            return None

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        winners = [data for data in pool.map(race, range(threads)) if data]
    equal(len(winners), 1, "winners")
    s3 = clients[0]
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read() == winners[0], True, "the winner's bytes")
    upload = begin(s3, bucket, "k")
    done = send(s3, bucket, "k", upload, {1: b"next"})
    refused("PreconditionFailed", finish, s3, bucket, "k", upload, done, IfMatch='"other"')
    finish(s3, bucket, "k", upload, done, IfMatch=s3.head_object(Bucket=bucket, Key="k")["ETag"])
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"next", "If-Match")


@check
def an_upload_goes_on_after_a_restart(server):
    bucket, s3 = server.bucket(), server.client()
    upload = begin(s3, bucket, "resumed")
    parts = {1: body("r1", PART), 2: body("r2", PART), 3: body("r3", 17)}
    send(s3, bucket, "resumed", upload, {1: parts[1], 2: parts[2]})
    server.kill()
    server.start()
    known = s3.list_parts(Bucket=bucket, Key="resumed", UploadId=upload)["Parts"]
    equal([part["PartNumber"] for part in known], [1, 2], "parts after kill -9")
    done = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in known]
    done += send(s3, bucket, "resumed", upload, {3: parts[3]})
    finish(s3, bucket, "resumed", upload, done)
    got = s3.get_object(Bucket=bucket, Key="resumed")["Body"].read()
    equal(got == b"".join(parts.values()), True, "a resumed upload")


@check
def uploads_that_nobody_ends_are_given_up():
    with Server(variables={"MINIO_API_STALE_UPLOADS_EXPIRY": "3s", "SARSEN_API_STALE_UPLOADS_CLEANUP_INTERVAL": "1s"}) as server:
        bucket, s3 = server.bucket(), server.client()
        upload = begin(s3, bucket, "k")
        done = send(s3, bucket, "k", upload, {1: body("stale", MIB)})
        finish(s3, bucket, "whole", quick := begin(s3, bucket, "whole"), send(s3, bucket, "whole", quick, {1: b"in time"}))
        files = sum(1 for drive in server.drives for path in (drive / "shards").rglob("*") if path.is_file())
        equal(files >= 4, True, "a part has files")
        deadline = time.monotonic() + 20
        while "Uploads" in s3.list_multipart_uploads(Bucket=bucket):
            equal(time.monotonic() < deadline, True, "given up in time")
            time.sleep(0.2)
        refused("NoSuchUpload", finish, s3, bucket, "k", upload, done)
        while any(path.stat().st_size > MIB // 4 for drive in server.drives for path in (drive / "shards").rglob("*") if path.is_file()):
            equal(time.monotonic() < deadline, True, "its files are gone in time")
            time.sleep(0.2)
        equal(s3.get_object(Bucket=bucket, Key="whole")["Body"].read(), b"in time", "what was ended")
