"""Parts copied from objects: bytes, ranges, conditions, checksums and exact refusals."""

import base64
import hashlib
from datetime import datetime, timedelta, timezone

from boto3.s3.transfer import TransferConfig
from copy_checks import FUTURE, PAST
from edge_checks import SUMS
from harness import KIB, MIB, body, check, equal, refused
from multipart_checks import PART, begin, etag_of, finish, send
from version_checks import put, switch, versioned

NOT_WITHIN = "Range specified is not valid for source object of size: {}"


def copy_part(s3, bucket, key, upload, number, source, **named):
    return s3.upload_part_copy(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, CopySource=source, **named)


def copied(answer, number):
    """What completes an upload of a copied part."""
    sums = {name: value for name, value in answer["CopyPartResult"].items() if name.startswith("Checksum")}
    return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"], **sums}


@check
def parts_are_copies_of_objects_of_every_kind(server):
    s3 = server.client()
    bucket, other = server.bucket(s3), server.bucket(s3)
    pieces = {1: body("p", PART), 4: body("q", MIB + 5)}
    upload = begin(s3, bucket, "in parts")
    finish(s3, bucket, "in parts", upload, send(s3, bucket, "in parts", upload, pieces))
    sources = {"small ü+?%2F": body("small", 100 * KIB), "large": body("large", 6 * MIB + 7), "empty": b""}
    for key, data in sources.items():
        s3.put_object(Bucket=bucket, Key=key, Body=data)
    sources["in parts"] = b"".join(pieces.values())
    table = [("large", None), ("large", (0, 6 * MIB + 6)), ("large", (MIB - 1, 2 * MIB)), ("in parts", None), ("in parts", (PART - 3, PART + 2)),
             ("in parts", (7, 6 * MIB)), ("small ü+?%2F", None), ("small ü+?%2F", (99, 99)), ("empty", None)]
    for key, ends in table:
        data, named = sources[key], {}
        if ends:
            data, named = data[ends[0]:ends[1] + 1], {"CopySourceRange": f"bytes={ends[0]}-{ends[1]}"}
        upload = begin(s3, other, "c")
        before = datetime.now(timezone.utc) - timedelta(seconds=2)
        answer = copy_part(s3, other, "c", upload, 1, {"Bucket": bucket, "Key": key}, **named)
        what = f"{key} {ends}"
        result = answer["CopyPartResult"]
        equal(result["ETag"], f'"{hashlib.md5(data).hexdigest()}"', what)
        equal(before <= result["LastModified"] <= datetime.now(timezone.utc), True, f"{what}: {result['LastModified']}")
        equal("CopySourceVersionId" in answer, False, f"{what}: no ids before versioning")
        listed = s3.list_parts(Bucket=other, Key="c", UploadId=upload)["Parts"]
        equal([(part["PartNumber"], part["Size"], part["ETag"], part["LastModified"]) for part in listed],
              [(1, len(data), result["ETag"], result["LastModified"])], f"{what}: listed")
        finish(s3, other, "c", upload, [copied(answer, 1)])
        equal(s3.get_object(Bucket=other, Key="c")["Body"].read() == data, True, f"{what}: bytes")


@check
def copied_and_sent_parts_make_one_object(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    data = body("itself", 12 * MIB)
    s3.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"a": "1"})
    source = {"Bucket": bucket, "Key": "k"}
    # Onto itself: the source stays what it was until the upload is complete.
    upload = begin(s3, bucket, "k", Metadata={"b": "2"})
    parts = {1: data[5 * MIB:11 * MIB], 2: body("sent", PART), 3: data}
    send(s3, bucket, "k", upload, {1: b"replaced"})
    done = [copied(copy_part(s3, bucket, "k", upload, 1, source, CopySourceRange=f"bytes={5 * MIB}-{11 * MIB - 1}"), 1)]
    done += send(s3, bucket, "k", upload, {2: parts[2]})
    done += [copied(copy_part(s3, bucket, "k", upload, 3, source), 3)]
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data, True, "before completion")
    equal(finish(s3, bucket, "k", upload, done)["ETag"], etag_of(parts), "ETag")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["Metadata"], got["Body"].read() == b"".join(parts.values())), ({"b": "2"}, True), "after completion")
    # A part outlives its source.
    upload = begin(s3, bucket, "heir")
    done = [copied(copy_part(s3, bucket, "heir", upload, 1, source, CopySourceRange="bytes=1-300000"), 1)]
    s3.delete_object(Bucket=bucket, Key="k")
    refused("NoSuchKey", copy_part, s3, bucket, "heir", upload, 2, source)
    finish(s3, bucket, "heir", upload, done)
    equal(s3.get_object(Bucket=bucket, Key="heir")["Body"].read() == b"".join(parts.values())[1:300001], True, "an heir")


@check
def ranges_of_copied_parts_are_exact(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="s", Body=b"hello world")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    upload = begin(s3, bucket, "k")
    for text in ("0-1", "bytes=0-", "bytes=-1", "bytes=5-4", "bytes=0-1,3-4", "bytes=a-b", "bytes=+0-1", "bytes= 0-1", "bytes=0", "lines=0-1",
                 "bytes=0-18446744073709551616"):
        answer = refused("InvalidArgument", copy_part, s3, bucket, "k", upload, 1, {"Bucket": bucket, "Key": "s"}, CopySourceRange=text)
        error = answer["Error"]
        equal((error["Message"].startswith("The x-amz-copy-source-range value must be of the form bytes=first-last"), error["ArgumentName"],
               error["ArgumentValue"], answer["ResponseMetadata"]["HTTPStatusCode"]), (True, "x-amz-copy-source-range", text, 400), text)
    for key, text, size in (("s", "bytes=0-11", 11), ("s", "bytes=11-11", 11), ("s", "bytes=5-18446744073709551615", 11), ("empty", "bytes=0-0", 0)):
        answer = refused("InvalidArgument", copy_part, s3, bucket, "k", upload, 1, {"Bucket": bucket, "Key": key}, CopySourceRange=text)
        error = answer["Error"]
        equal((error["Message"], error["ArgumentName"], error["ArgumentValue"]),
              (NOT_WITHIN.format(size), "x-amz-copy-source-range", text), f"{key} {text}")
    equal("Parts" in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload), False, "no part was made")


@check
def copied_parts_are_refused_exactly(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="s", Body=b"x")
    source, upload = {"Bucket": bucket, "Key": "s"}, begin(s3, bucket, "k")
    refused("NoSuchKey", copy_part, s3, bucket, "k", upload, 1, {"Bucket": bucket, "Key": "never"})
    refused("NoSuchBucket", copy_part, s3, bucket, "k", upload, 1, {"Bucket": "never-made", "Key": "s"})
    refused("NoSuchBucket", copy_part, s3, "never-made", "k", upload, 1, source)
    refused("NoSuchUpload", copy_part, s3, bucket, "other", upload, 1, source)
    for bad in ("x", "null", "00000000-0000-0001-0000-000000000001"):
        refused("NoSuchUpload", copy_part, s3, bucket, "k", bad, 1, source)
    for number in (0, 10_001):
        refused("InvalidArgument", copy_part, s3, bucket, "k", upload, number, source)
    for text in ("no-key", f"{bucket}/", f"{bucket}/s?versionId=bad"):
        refused("InvalidArgument", copy_part, s3, bucket, "k", upload, 1, text)
    named = {"CopySourceSSECustomerAlgorithm": "AES256", "CopySourceSSECustomerKey": "k" * 32}
    refused("NotImplemented", copy_part, s3, bucket, "k", upload, 1, source, **named)
    equal("Parts" in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload), False, "no part was made")
    target = f"/{bucket}/k?partNumber=1&uploadId={upload}"
    status, _, text = server.plain("PUT", target, None, {"x-amz-copy-source": f"{bucket}/s"})
    equal((status, b"<Code>AccessDenied</Code>" in text), (403, True), "nobody's request")
    done = [copied(copy_part(s3, bucket, "k", upload, 10_000, source), 10_000)]
    finish(s3, bucket, "k", upload, done)
    refused("NoSuchUpload", copy_part, s3, bucket, "k", upload, 1, source)
    upload = begin(s3, bucket, "k")
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    refused("NoSuchUpload", copy_part, s3, bucket, "k", upload, 1, source)


@check
def conditions_on_the_source_of_a_part_hold(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    etag = s3.put_object(Bucket=bucket, Key="s", Body=b"x")["ETag"]
    source, upload = {"Bucket": bucket, "Key": "s"}, begin(s3, bucket, "k")
    for named in ({"CopySourceIfMatch": '"0"'}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfUnmodifiedSince": PAST},
                  {"CopySourceIfModifiedSince": FUTURE}, {"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": PAST}):
        answer = refused("PreconditionFailed", copy_part, s3, bucket, "k", upload, 1, source, **named)
        equal(answer["ResponseMetadata"]["HTTPStatusCode"], 412, f"{named}")
    equal("Parts" in s3.list_parts(Bucket=bucket, Key="k", UploadId=upload), False, "no part was made")
    for number, named in enumerate(({"CopySourceIfMatch": etag}, {"CopySourceIfNoneMatch": '"0"'}, {"CopySourceIfModifiedSince": PAST},
                                    {"CopySourceIfUnmodifiedSince": FUTURE},
                                    {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": PAST}), 1):
        equal(copy_part(s3, bucket, "k", upload, number, source, **named)["CopyPartResult"]["ETag"], etag, f"{named}")


@check
def parts_are_copies_of_versions(server):
    s3 = server.client()
    bucket, plain = versioned(server, s3), server.bucket(s3)
    old, new = put(s3, bucket, "k", b"old"), put(s3, bucket, "k", b"newer")
    upload, source = begin(s3, plain, "c"), {"Bucket": bucket, "Key": "k"}

    def copy(**named):
        answer = copy_part(s3, plain, "c", upload, 1, {**source, **named})
        return answer.get("CopySourceVersionId"), answer["CopyPartResult"]["ETag"].strip('"')

    def md5(data):
        return hashlib.md5(data).hexdigest()

    equal(copy(), (new, md5(b"newer")), "the current version")
    equal(copy(VersionId=old), (old, md5(b"old")), "the old one")
    refused("NoSuchVersion", copy_part, s3, plain, "c", upload, 1, {**source, "Key": "other", "VersionId": old})
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    refused("NoSuchKey", copy_part, s3, plain, "c", upload, 1, source)
    refused("InvalidRequest", copy_part, s3, plain, "c", upload, 1, {**source, "VersionId": marker})
    equal(copy(VersionId=old), (old, md5(b"old")), "below a marker")
    switch(s3, bucket, "Suspended")
    put(s3, bucket, "k", b"null")
    equal(copy(), ("null", md5(b"null")), "the null version")
    equal(copy(VersionId="null"), ("null", md5(b"null")), "the null version by name")
    equal(finish(s3, plain, "c", upload, [{"PartNumber": 1, "ETag": md5(b"null")}]).get("VersionId"), None, "of the object")


@check
def copied_parts_bring_the_checksum_of_their_upload(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    data = body("sums", 300 * KIB)
    # The source's own checksum is of no matter.
    s3.put_object(Bucket=bucket, Key="s", Body=data, ChecksumAlgorithm="SHA1")
    source = {"Bucket": bucket, "Key": "s"}
    for name, of in SUMS.items():
        field, cut = f"Checksum{name.upper()}", data[1000:250_000]
        upload = begin(s3, bucket, "c", ChecksumAlgorithm=name.upper())
        answer = copy_part(s3, bucket, "c", upload, 1, source, CopySourceRange="bytes=1000-249999")
        sums = {key: value for key, value in answer["CopyPartResult"].items() if key.startswith("Checksum")}
        equal(sums, {field: base64.b64encode(of(cut)).decode()}, name)
        listed = s3.list_parts(Bucket=bucket, Key="c", UploadId=upload)
        equal(listed["Parts"][0][field], sums[field], f"{name}: listed")
        made = finish(s3, bucket, "c", upload, [copied(answer, 1)])
        whole = name == "crc64nvme"
        want = of(cut) if whole else of(of(cut))
        equal(made[field], base64.b64encode(want).decode() + ("" if whole else "-1"), f"{name}: of the object")
    upload = begin(s3, bucket, "c")
    answer = copy_part(s3, bucket, "c", upload, 1, source)["CopyPartResult"]
    equal([name for name in answer if name.startswith("Checksum")], [], "none is asked for")


@check
def managed_copies_go_in_parts(server):
    s3 = server.client()
    bucket, other = server.bucket(s3), server.bucket(s3)
    data, config = body("managed", 25 * MIB + 3), TransferConfig(multipart_threshold=8 * MIB, multipart_chunksize=6 * MIB, max_concurrency=4)
    source = {"Bucket": bucket, "Key": "ü s+/?&"}
    s3.put_object(Bucket=bucket, Key=source["Key"], Body=data)
    for name, extra in (("plain", {}), ("summed", {"ChecksumAlgorithm": "CRC32"}), ("meant", {"Metadata": {"a": "1"}, "MetadataDirective": "REPLACE"})):
        s3.copy(source, other, name, ExtraArgs=extra, Config=config)
        got = s3.get_object(Bucket=other, Key=name, ChecksumMode="ENABLED")
        equal(got["ETag"].endswith('-5"'), True, f"{name}: {got['ETag']}")
        equal(got["Body"].read() == data, True, f"{name}: bytes")
        equal(("ChecksumCRC32" in got, got["Metadata"]), ("ChecksumAlgorithm" in extra, extra.get("Metadata", {})), name)
    equal("Uploads" in s3.list_multipart_uploads(Bucket=other), False, "uploads left open")


@check
def tools_copy_and_move_in_parts_on_the_server(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("tools", 21 * MIB + 1)
    s3.put_object(Bucket=bucket, Key="s", Body=data, Metadata={"a": "1"}, ContentType="text/x", Tagging="t=1")
    place = f"s3://{bucket}"
    server.tool("aws", "s3", "cp", f"{place}/s", f"{place}/aws")
    server.tool("aws", "s3", "mv", f"{place}/aws", f"{place}/dir/aws")
    cutoff = ("--s3-copy-cutoff", "5M")
    server.tool("rclone", "copyto", f"s:{bucket}/s", f"s:{bucket}/rclone", *cutoff)
    server.tool("rclone", "moveto", f"s:{bucket}/rclone", f"s:{bucket}/dir/rclone", *cutoff)
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(keys, ["dir/aws", "dir/rclone", "s"], "keys")
    for key in keys[:2]:
        got = s3.get_object(Bucket=bucket, Key=key)
        equal(got["Body"].read() == data, True, f"bytes of {key}")
        # awscli of version 1 leaves metadata behind when it copies in parts.
        equal(key == "dir/aws" or (got["ContentType"], got["Metadata"]["a"]) == ("text/x", "1"), True, f"headers of {key}")
        equal("-" in got["ETag"], True, f"{key} was copied in parts: {got['ETag']}")
    equal("Uploads" in s3.list_multipart_uploads(Bucket=bucket), False, "uploads left open")
