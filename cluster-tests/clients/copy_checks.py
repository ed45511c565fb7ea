"""Copies through boto3: bytes, directives, conditions and exact refusals."""

import base64
import hashlib
import zlib
from datetime import datetime, timezone

from harness import KIB, MIB, body, check, equal, refused, sha256
from tag_checks import tags
from version_checks import put, switch, versioned

PAST = datetime(2001, 1, 1, tzinfo=timezone.utc)
FUTURE = datetime(2035, 1, 1, tzinfo=timezone.utc)


@check
def copies_of_every_size_are_the_same_bytes(server):
    s3 = server.client()
    bucket, other = server.bucket(s3), server.bucket(s3)
    for size in (0, 1, 128 * KIB, 128 * KIB + 1, MIB, 5 * MIB + 3):
        data = body("copy", size)
        s3.put_object(Bucket=bucket, Key=f"dir/ü {size}+", Body=data)
        done = s3.copy_object(Bucket=other, Key=f"c{size}", CopySource={"Bucket": bucket, "Key": f"dir/ü {size}+"})
        equal(done["CopyObjectResult"]["ETag"], f'"{hashlib.md5(data).hexdigest()}"', "ETag")
        equal("VersionId" in done or "CopySourceVersionId" in done, False, "no ids before versioning")
        got = s3.get_object(Bucket=other, Key=f"c{size}")
        equal(sha256(got["Body"].read()), sha256(data), f"{size} bytes")
        equal(got["LastModified"].replace(microsecond=0), done["CopyObjectResult"]["LastModified"].replace(microsecond=0), "time")


@check
def directives_say_whose_headers_and_tags_a_copy_gets(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    source = {"Bucket": bucket, "Key": "s"}
    s3.put_object(Bucket=bucket, Key="s", Body=b"x", ContentType="text/a", CacheControl="no-store", Metadata={"a": "1"},
                  Tagging="t=1")
    new = {"ContentType": "text/b", "Metadata": {"b": "2"}, "Tagging": "u=2"}

    def made(**named):
        s3.copy_object(Bucket=bucket, Key="c", CopySource=source, **named)
        head = s3.head_object(Bucket=bucket, Key="c")
        return head["ContentType"], head.get("CacheControl"), head["Metadata"], tags(s3, bucket, "c")

    old = ("text/a", "no-store", {"a": "1"}, {"t": "1"})
    equal(made(), old, "nothing said")
    equal(made(**new), old, "COPY is the default")
    equal(made(MetadataDirective="COPY", TaggingDirective="COPY", **new), old, "COPY")
    equal(made(MetadataDirective="REPLACE", **new), ("text/b", None, {"b": "2"}, {"t": "1"}), "metadata replaced")
    equal(made(TaggingDirective="REPLACE", **new), old[:3] + ({"u": "2"},), "tags replaced")
    equal(made(TaggingDirective="REPLACE"), old[:3] + ({},), "tags taken away")
    equal(made(MetadataDirective="REPLACE"), ("binary/octet-stream", None, {}, {"t": "1"}), "metadata taken away")
    refused("InvalidArgument", s3.copy_object, Bucket=bucket, Key="c", CopySource=source, MetadataDirective="KEEP")
    refused("InvalidArgument", s3.copy_object, Bucket=bucket, Key="c", CopySource=source, TaggingDirective="KEEP")
    s3.copy_object(Bucket=bucket, Key="c", CopySource=source, StorageClass="REDUCED_REDUNDANCY")
    equal(s3.head_object(Bucket=bucket, Key="c")["StorageClass"], "REDUCED_REDUNDANCY", "class")


@check
def a_copy_to_itself_must_change_something(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    source = {"Bucket": bucket, "Key": "k"}
    data = body("self", 300 * KIB)
    s3.put_object(Bucket=bucket, Key="k", Body=data, Metadata={"a": "1"})
    for named in ({}, {"TaggingDirective": "REPLACE", "Tagging": "a=b"}, {"Metadata": {"b": "2"}}):
        answer = refused("InvalidRequest", s3.copy_object, Bucket=bucket, Key="k", CopySource=source, **named)
        equal(answer["Error"]["Message"],
              "This copy request is illegal because it is trying to copy an object to itself without changing the "
              "object's metadata, storage class, website redirect location or encryption attributes.", "message")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"b": "2"})
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["Metadata"], got["Body"].read() == data), ({"b": "2"}, True), "new metadata, same bytes")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, StorageClass="REDUCED_REDUNDANCY")
    got = s3.get_object(Bucket=bucket, Key="k")
    equal((got["StorageClass"], got["Body"].read() == data), ("REDUCED_REDUNDANCY", True), "new class, same bytes")


@check
def conditions_of_copies_hold_on_both_sides(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    source = {"Bucket": bucket, "Key": "s"}
    etag = s3.put_object(Bucket=bucket, Key="s", Body=b"x")["ETag"]

    def copy(key="c", **named):
        return s3.copy_object(Bucket=bucket, Key=key, CopySource=source, **named)

    for named in ({"CopySourceIfMatch": etag}, {"CopySourceIfNoneMatch": '"0"'}, {"CopySourceIfModifiedSince": PAST},
                  {"CopySourceIfUnmodifiedSince": FUTURE}, {"CopySourceIfMatch": etag, "CopySourceIfUnmodifiedSince": PAST}):
        copy(**named)
    for named in ({"CopySourceIfMatch": '"0"'}, {"CopySourceIfNoneMatch": etag}, {"CopySourceIfUnmodifiedSince": PAST},
                  {"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": PAST}):
        refused("PreconditionFailed", copy, key="never", **named)
    refused("PreconditionFailed", copy, IfNoneMatch="*")
    refused("PreconditionFailed", copy, IfMatch='"0"')
    copy(IfMatch=etag)
    copy(key="fresh", IfNoneMatch="*")
    refused("NoSuchKey", copy, key="never", IfMatch=etag)
    refused("NoSuchKey", s3.copy_object, Bucket=bucket, Key="c", CopySource={"Bucket": bucket, "Key": "never"})
    refused("NoSuchBucket", s3.copy_object, Bucket=bucket, Key="c", CopySource={"Bucket": "never-made", "Key": "s"})
    refused("NoSuchBucket", s3.copy_object, Bucket="never-made", Key="c", CopySource=source)
    refused("InvalidArgument", s3.copy_object, Bucket=bucket, Key="c", CopySource="no-key")


@check
def versions_are_copied_by_their_ids(server):
    s3 = server.client()
    bucket, plain = versioned(server, s3), server.bucket(s3)
    old = put(s3, bucket, "k", b"old")
    new = put(s3, bucket, "k", b"new")
    done = s3.copy_object(Bucket=plain, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    equal((done["CopySourceVersionId"], "VersionId" in done), (new, False), "the current one")
    done = s3.copy_object(Bucket=plain, Key="c", CopySource={"Bucket": bucket, "Key": "k", "VersionId": old})
    equal(done["CopySourceVersionId"], old, "the old one")
    equal(s3.get_object(Bucket=plain, Key="c")["Body"].read(), b"old", "its bytes")
    back = s3.copy_object(Bucket=bucket, Key="k", CopySource={"Bucket": bucket, "Key": "k", "VersionId": old})
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], back["VersionId"], "made current again")
    equal(len(s3.list_object_versions(Bucket=bucket)["Versions"]), 3, "as a new version")
    refused("NoSuchVersion", s3.copy_object, Bucket=plain, Key="c",
            CopySource={"Bucket": bucket, "Key": "other", "VersionId": old})
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    refused("NoSuchKey", s3.copy_object, Bucket=plain, Key="c", CopySource={"Bucket": bucket, "Key": "k"})
    refused("InvalidRequest", s3.copy_object, Bucket=plain, Key="c",
            CopySource={"Bucket": bucket, "Key": "k", "VersionId": marker})
    switch(s3, bucket, "Suspended")
    done = s3.copy_object(Bucket=bucket, Key="n", CopySource={"Bucket": plain, "Key": "c"})
    equal((done["VersionId"], "CopySourceVersionId" in done), ("null", False), "into a suspended bucket")


@check
def checksums_are_kept_or_made_anew(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    data = body("sums", 200 * KIB)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()
    sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
    s3.put_object(Bucket=bucket, Key="s", Body=data, ChecksumAlgorithm="CRC32")
    source = {"Bucket": bucket, "Key": "s"}
    kept = s3.copy_object(Bucket=bucket, Key="c", CopySource=source)["CopyObjectResult"]
    equal((kept["ChecksumCRC32"], kept["ChecksumType"]), (crc, "FULL_OBJECT"), "kept")
    made = s3.copy_object(Bucket=bucket, Key="c", CopySource=source, ChecksumAlgorithm="SHA256")["CopyObjectResult"]
    equal((made["ChecksumSHA256"], "ChecksumCRC32" in made), (sha, False), "made anew")
    got = s3.get_object(Bucket=bucket, Key="c", ChecksumMode="ENABLED")
    equal((got["ChecksumSHA256"], got["Body"].read() == data), (sha, True), "of the copy")


@check
def tools_copy_and_move_on_the_server(server):
    s3 = server.client()
    bucket, data = server.bucket(s3), body("tools", 2 * MIB + 1)
    s3.put_object(Bucket=bucket, Key="s", Body=data, Metadata={"a": "1"})
    place = f"s3://{bucket}"
    server.tool("aws", "s3", "cp", f"{place}/s", f"{place}/aws")
    server.tool("aws", "s3", "mv", f"{place}/aws", f"{place}/dir/aws")
    server.tool("s5cmd", "cp", f"{place}/s", f"{place}/s5cmd")
    server.tool("s5cmd", "mv", f"{place}/s5cmd", f"{place}/dir/s5cmd")
    server.tool("rclone", "copyto", f"s:{bucket}/s", f"s:{bucket}/rclone")
    server.tool("rclone", "moveto", f"s:{bucket}/rclone", f"s:{bucket}/dir/rclone")
    keys = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    equal(keys, ["dir/aws", "dir/rclone", "dir/s5cmd", "s"], "keys")
    for key in keys:
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data, True, f"bytes of {key}")
