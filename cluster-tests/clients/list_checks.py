"""Listing through boto3, compared with a model in Python."""

import random
import urllib.parse
import xml.etree.ElementTree as ElementTree

from harness import body, check, equal

KEYS = ["a", "a/", "a/b", "a/b/c", "a//b", "a-b", "a.b", "//", "//x", "..", "../x", ".", "./y", "b ", "b+c&d=e",
        "b%20c", "c<>'\"", "dir/sub/one", "dir/sub/two", "dir/three", "dir2/x", "é", "e\u0301", "日本/語", "z\U0001F600",
        "z\ufffdend", "\u00ff", "x" * 1024, "tab\tand\nline"]


def model(keys, prefix="", delimiter="", after=""):
    """What a listing must show, in UTF-8 order: keys and common prefixes."""
    shown = []
    for key in sorted((key for key in keys if key.startswith(prefix)), key=str.encode):
        rest = key[len(prefix):]
        name = key
        if delimiter and delimiter in rest:
            name = prefix + rest.split(delimiter, 1)[0] + delimiter
        if name.encode() > after.encode() and (not shown or shown[-1] != name):
            shown.append(name)
    return shown


def pages(s3, call, **named):
    """Follows a listing to its end; names in the order shown by the pages."""
    names, more, rounds = [], {}, 0
    while True:
        page = getattr(s3, call)(**named, **more)
        found = [item["Key"] for item in page.get("Contents", [])]
        found += [item["Prefix"] for item in page.get("CommonPrefixes", [])]
        limit = named.get("MaxKeys", 1000)
        if len(found) > limit or (page["IsTruncated"] and len(found) < limit):
            raise AssertionError(f"{call} {named}: a page of {len(found)}, truncated {page['IsTruncated']}")
        names += sorted(found, key=str.encode)
        rounds += 1
        if not page["IsTruncated"]:
            return names
        if rounds > 5000:
            raise AssertionError(f"{call} {named}: no end")
        if call == "list_objects_v2":
            more = {"ContinuationToken": page["NextContinuationToken"]}
        else:
            more = {"Marker": page.get("NextMarker") or found[-1]}


@check
def strange_keys_are_plain_bytes(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=body(key, 100))
    for key in KEYS:
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), body(key, 100), f"key {key!r}")
    for call in ("list_objects", "list_objects_v2"):
        for size in (1, 2, 7, 1000):
            for delimiter in ("", "/", "b", "//"):
                for prefix in ("", "a", "a/", "dir/", "/", ".", "日", "nothing"):
                    got = pages(s3, call, Bucket=bucket, MaxKeys=size, Delimiter=delimiter, Prefix=prefix)
                    equal(got, model(KEYS, prefix, delimiter), f"{call} {size} {delimiter!r} {prefix!r}")
    for key in ("a", "a/b", "..", "//"):
        s3.delete_object(Bucket=bucket, Key=key)
    left = [key for key in KEYS if key not in ("a", "a/b", "..", "//")]
    equal(pages(s3, "list_objects_v2", Bucket=bucket), model(left), "after deletes")


@check
def markers_start_after_any_name(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    keys = [f"{top}/{leaf}" for top in "abc" for leaf in range(5)] + ["b", "bb"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    dice = random.Random(7)
    for after in ["", "a", "a/", "a/2", "b", "b/", "b/zz", "c/4", "zzz", *dice.sample(keys, 4)]:
        got = pages(s3, "list_objects_v2", Bucket=bucket, StartAfter=after)
        equal(got, model(keys, after=after), f"StartAfter {after!r}")
        got = pages(s3, "list_objects", Bucket=bucket, Marker=after)
        equal(got, model(keys, after=after), f"Marker {after!r}")


@check
def pages_of_two_thousand_keys_join(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    keys = [f"{number % 50:02}/{number:05}" for number in range(2100)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for call in ("list_objects", "list_objects_v2"):
        equal(pages(s3, call, Bucket=bucket), sorted(keys), call)
        equal(pages(s3, call, Bucket=bucket, Delimiter="/", MaxKeys=3), [f"{n:02}/" for n in range(50)], call)
    page = s3.list_objects_v2(Bucket=bucket)
    equal((page["KeyCount"], page["MaxKeys"], page["IsTruncated"]), (1000, 1000, True), "a full page")
    item = page["Contents"][0]
    equal((item["Size"], item["StorageClass"], item["ETag"]),
          (1, "STANDARD", '"9dd4e461268c8034f5c8564e155c67a6"'), "an entry")
    equal(s3.list_objects_v2(Bucket=bucket, MaxKeys=0).get("Contents"), None, "MaxKeys 0")


@check
def encoding_type_url_encodes_names(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    keys = ["a b+c/ü", "x\ty"]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    for query in ("encoding-type=url&list-type=2", "encoding-type=url"):
        status, _, text = server.signed("GET", f"/{bucket}", query=query)
        equal(status, 200, query)
        names = [node.text for node in ElementTree.fromstring(text).iter() if node.tag.endswith("}Key")]
        equal([urllib.parse.unquote_plus(name) for name in names], keys, query)
        if any(" " in name or "ü" in name for name in names):
            raise AssertionError(f"{query}: not encoded: {names}")


@check
def odd_parameters_of_lists_are_refused(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"x")
    bad = [f"{kind}max-keys={count}" for kind in ("", "list-type=2&", "versions=&") for count in ("-1", "x", "2147483648")]
    bad += [f"uploads=&max-uploads={count}" for count in ("-1", "x")]
    bad += [f"{kind}encoding-type=utf8" for kind in ("", "list-type=2&", "versions=&", "uploads=&")]
    bad += ["list-type=3", "list-type=2&continuation-token=", "list-type=2&continuation-token=zz"]
    for query in bad:
        status, _, text = server.signed("GET", f"/{bucket}", query=query)
        equal((status, b"<Code>InvalidArgument</Code>" in text), (400, True), query)
    for query in ("max-parts=-1", "max-parts=x", "part-number-marker=-1", "part-number-marker=x", "encoding-type=utf8"):
        status, _, text = server.signed("GET", f"/{bucket}/k", query=f"{query}&uploadId={upload}")
        equal((status, b"<Code>InvalidArgument</Code>" in text), (400, True), query)
    for path, query in ((f"/{bucket}", "max-keys=0"), (f"/{bucket}", "list-type=2&max-keys=0"), (f"/{bucket}", "versions=&max-keys=0"),
                        (f"/{bucket}", "uploads=&max-uploads=0"), (f"/{bucket}/k", f"max-parts=0&uploadId={upload}")):
        status, _, text = server.signed("GET", path, query=query)
        equal((status, b"<IsTruncated>false</IsTruncated>" in text), (200, True), f"{query}: whoever asks for none is not asked on")
