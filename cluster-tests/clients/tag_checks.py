"""Tags, attributes and ACLs of objects, through boto3."""

import base64
import zlib

from harness import KIB, MIB, body, check, equal, refused
from version_checks import put, switch, versioned


def tag_set(pairs):
    return {"TagSet": [{"Key": key, "Value": value} for key, value in pairs.items()]}


def tags(s3, bucket, key, **named):
    return {tag["Key"]: tag["Value"] for tag in s3.get_object_tagging(Bucket=bucket, Key=key, **named)["TagSet"]}


@check
def tags_change_and_nothing_else_does(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    for size in (0, 100, 300 * KIB, 3 * MIB):
        key, data = f"k{size}", body("tags", size)
        s3.put_object(Bucket=bucket, Key=key, Body=data, Metadata={"a": "b"}, Tagging="one=1&two=%C3%BC+x")
        before = s3.head_object(Bucket=bucket, Key=key)
        equal(tags(s3, bucket, key), {"one": "1", "two": "ü x"}, "x-amz-tagging of PUT")
        equal(before["ResponseMetadata"]["HTTPHeaders"]["x-amz-tagging-count"], "2", "count")
        done = s3.put_object_tagging(Bucket=bucket, Key=key, Tagging=tag_set({"three": "", "ü/=+&": "v"}))
        equal("VersionId" in done, False, "no id before versioning")
        equal(tags(s3, bucket, key), {"three": "", "ü/=+&": "v"}, "replaced")
        got = s3.get_object(Bucket=bucket, Key=key)
        equal(got["Body"].read() == data, True, f"bytes of {size}")
        for name in ("ETag", "LastModified", "ContentLength", "Metadata", "ContentType"):
            equal(got[name], before[name], name)
        s3.delete_object_tagging(Bucket=bucket, Key=key)
        equal(tags(s3, bucket, key), {}, "deleted")
        head = s3.head_object(Bucket=bucket, Key=key)
        equal("x-amz-tagging-count" in head["ResponseMetadata"]["HTTPHeaders"], False, "no count")
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data, True, f"bytes of {size} at last")


@check
def tags_are_refused_exactly(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Tagging="kept=1")
    for code, pairs in [("BadRequest", {f"k{number}": "" for number in range(11)}), ("InvalidTag", {"k" * 129: ""}),
                        ("InvalidTag", {"k": "v" * 257}), ("InvalidTag", {"aws:k": "v"})]:
        refused(code, s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tag_set(pairs))
    twice = {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}
    refused("InvalidTag", s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=twice)
    refused("InvalidArgument", s3.put_object, Bucket=bucket, Key="k", Body=b"y", Tagging="a=%zz")
    for call, named in ((s3.get_object_tagging, {}), (s3.delete_object_tagging, {}),
                        (s3.put_object_tagging, {"Tagging": tag_set({})})):
        refused("NoSuchKey", call, Bucket=bucket, Key="never", **named)
        refused("NoSuchBucket", call, Bucket="never-made", Key="k", **named)
    equal(tags(s3, bucket, "k"), {"kept": "1"}, "after refusals")


@check
def each_version_has_its_own_tags(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    put(s3, bucket, "k", b"null", Tagging="v=null")
    switch(s3, bucket, "Enabled")
    first = put(s3, bucket, "k", body("t", 200 * KIB), Tagging="v=1")
    last = put(s3, bucket, "k", b"last")
    done = s3.put_object_tagging(Bucket=bucket, Key="k", VersionId=first, Tagging=tag_set({"v": "one"}))
    equal(done["VersionId"], first, "x-amz-version-id")
    s3.put_object_tagging(Bucket=bucket, Key="k", VersionId="null", Tagging=tag_set({"v": "nil"}))
    equal(s3.put_object_tagging(Bucket=bucket, Key="k", Tagging=tag_set({"v": "cur"}))["VersionId"], last, "current")
    for version, value in ((first, "one"), ("null", "nil"), (last, "cur")):
        equal(tags(s3, bucket, "k", VersionId=version), {"v": value}, version)
    listed = s3.list_object_versions(Bucket=bucket)["Versions"]
    equal([(item["VersionId"], item["IsLatest"]) for item in listed],
          [(last, True), (first, False), ("null", False)], "no change of tags is a version")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == body("t", 200 * KIB), True, "bytes")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    refused("NoSuchKey", s3.get_object_tagging, Bucket=bucket, Key="k")
    refused("MethodNotAllowed", s3.get_object_tagging, Bucket=bucket, Key="k", VersionId=marker)
    refused("NoSuchKey", s3.put_object_tagging, Bucket=bucket, Key="k", Tagging=tag_set({"a": "b"}))
    refused("MethodNotAllowed", s3.put_object_tagging, Bucket=bucket, Key="k", VersionId=marker, Tagging=tag_set({}))
    s3.delete_object_tagging(Bucket=bucket, Key="k", VersionId=first)
    equal(tags(s3, bucket, "k", VersionId=first), {}, "of one version")
    s3.delete_object(Bucket=bucket, Key="k", VersionId=first)
    refused("NoSuchVersion", s3.get_object_tagging, Bucket=bucket, Key="k", VersionId=first)


@check
def attributes_tell_what_is_asked(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    data = body("attributes", 5 * KIB)
    made = s3.put_object(Bucket=bucket, Key="k", Body=data, ChecksumAlgorithm="CRC32", StorageClass="REDUCED_REDUNDANCY")
    every = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=every)
    crc = base64.b64encode(zlib.crc32(data).to_bytes(4)).decode()
    equal({name: told.get(name) for name in every},
          {"ETag": made["ETag"].strip('"'), "Checksum": {"ChecksumCRC32": crc, "ChecksumType": "FULL_OBJECT"},
           "ObjectParts": None, "StorageClass": "REDUCED_REDUNDANCY", "ObjectSize": len(data)}, "all")
    equal((told["VersionId"], "LastModified" in told), (made["VersionId"], True), "headers")
    one = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"])
    equal([name for name in every if name in one], ["ObjectSize"], "one")
    refused("NoSuchKey", s3.get_object_attributes, Bucket=bucket, Key="never", ObjectAttributes=every)
    refused("InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["Colour"])
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    refused("NoSuchKey", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=every)
    refused("MethodNotAllowed", s3.get_object_attributes, Bucket=bucket, Key="k", VersionId=marker, ObjectAttributes=every)
    told = s3.get_object_attributes(Bucket=bucket, Key="k", VersionId=made["VersionId"], ObjectAttributes=["ETag"])
    equal(told["ETag"], made["ETag"].strip('"'), "of a version")


@check
def only_the_private_acl_passes(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    version = put(s3, bucket, "k", b"x")
    grants = s3.get_object_acl(Bucket=bucket, Key="k")["Grants"]
    equal([grant["Permission"] for grant in grants], ["FULL_CONTROL"], "of the object")
    equal(s3.get_bucket_acl(Bucket=bucket)["Grants"], grants, "of the bucket")
    s3.put_object_acl(Bucket=bucket, Key="k", ACL="private")
    s3.put_object_acl(Bucket=bucket, Key="k", VersionId=version, ACL="private")
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    policy = s3.get_object_acl(Bucket=bucket, Key="k")
    s3.put_object_acl(Bucket=bucket, Key="k", AccessControlPolicy={name: policy[name] for name in ("Owner", "Grants")})
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={name: policy[name] for name in ("Owner", "Grants")})
    refused("NotImplemented", s3.put_object_acl, Bucket=bucket, Key="k", ACL="public-read")
    refused("NotImplemented", s3.put_bucket_acl, Bucket=bucket, ACL="public-read")
    refused("NoSuchKey", s3.get_object_acl, Bucket=bucket, Key="never")
    refused("NoSuchKey", s3.put_object_acl, Bucket=bucket, Key="never", ACL="private")
    refused("NoSuchBucket", s3.put_bucket_acl, Bucket="never-made", ACL="private")
    s3.delete_bucket_website(Bucket=bucket)
    refused("NoSuchBucket", s3.delete_bucket_website, Bucket="never-made")
