"""Versions through boto3 and by hand: ids, null versions, delete markers, and lists of them."""

import xml.etree.ElementTree as ElementTree
from urllib.parse import quote, unquote_plus

from harness import KIB, body, check, equal, refused

NULL = "null"


def versioned(server, s3, status="Enabled"):
    bucket = server.bucket(s3)
    switch(s3, bucket, status)
    return bucket


def switch(s3, bucket, status):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], status, "Status")


def put(s3, bucket, key, data, **named):
    """Writes and returns the version id."""
    return s3.put_object(Bucket=bucket, Key=key, Body=data, **named).get("VersionId")


def history(s3, bucket, **named):
    """Every version and marker in the order of the document: (key, id, is marker, is latest)."""
    page = s3.list_object_versions(Bucket=bucket, **named)
    entries = [(item["Key"], item["VersionId"], False, item["IsLatest"]) for item in page.get("Versions", [])]
    entries += [(item["Key"], item["VersionId"], True, item["IsLatest"]) for item in page.get("DeleteMarkers", [])]
    return entries


def ids(s3, bucket, key):
    return sorted(entry[1] for entry in history(s3, bucket, Prefix=key) if entry[0] == key)


@check
def versioning_is_switched_and_refused_exactly(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    equal("Status" in s3.get_bucket_versioning(Bucket=bucket), False, "never said")
    for status in ("Enabled", "Suspended", "Enabled"):
        switch(s3, bucket, status)
    refused("MalformedXML", s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={"Status": "On"})
    refused("IllegalVersioningConfigurationException", s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration={})
    refused("NotImplemented", s3.put_bucket_versioning, Bucket=bucket,
            VersioningConfiguration={"Status": "Enabled", "MFADelete": "Enabled"})
    refused("NoSuchBucket", s3.put_bucket_versioning, Bucket="never-made", VersioningConfiguration={"Status": "Enabled"})
    refused("NoSuchBucket", s3.list_object_versions, Bucket="never-made")
    equal(s3.get_bucket_versioning(Bucket=bucket)["Status"], "Enabled", "after refusals")


@check
def every_version_is_kept_and_read_by_its_id(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    sizes = [0, 10, 300 * KIB]
    versions = [put(s3, bucket, "k", body("v", size)) for size in sizes]
    equal(len(set(versions)), 3, "ids")
    for size, version in zip(sizes, versions):
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
        equal((got["VersionId"], got["Body"].read() == body("v", size)), (version, True), f"{size}")
        equal(s3.head_object(Bucket=bucket, Key="k", VersionId=version)["VersionId"], version, "HEAD")
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], versions[-1], "current")
    latest = [entry[1] for entry in history(s3, bucket) if entry[3]]
    equal(latest, versions[-1:], "IsLatest")
    equal([entry[1] for entry in history(s3, bucket)], versions[::-1], "newest first")
    gone = s3.delete_object(Bucket=bucket, Key="k", VersionId=versions[-1])
    equal((gone["VersionId"], "DeleteMarker" in gone), (versions[-1], False), "deleted")
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], versions[1], "the one before is current")
    answer = refused("NoSuchVersion", s3.get_object, Bucket=bucket, Key="k", VersionId=versions[-1])
    equal(answer["ResponseMetadata"]["HTTPStatusCode"], 404, "status")
    s3.delete_object(Bucket=bucket, Key="k", VersionId=versions[-1])
    refused("InvalidArgument", s3.get_object, Bucket=bucket, Key="k", VersionId="no-such-id")
    refused("InvalidArgument", s3.delete_object, Bucket=bucket, Key="k", VersionId="no-such-id")


@check
def a_delete_marker_hides_and_says_so(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    version = put(s3, bucket, "k", b"x")
    done = s3.delete_object(Bucket=bucket, Key="k")
    marker = done["VersionId"]
    equal(done["DeleteMarker"], True, "x-amz-delete-marker of DELETE")
    for method in ("GET", "HEAD"):
        status, headers, text = server.signed(method, f"/{bucket}/k")
        equal((status, headers["x-amz-delete-marker"], headers["x-amz-version-id"]), (404, "true", marker), method)
        equal("last-modified" in headers, False, f"Last-Modified of {method} without an id")
        status, headers, text = server.signed(method, f"/{bucket}/k", query=f"versionId={marker}")
        equal((status, headers["x-amz-delete-marker"], headers["x-amz-version-id"], headers["allow"]),
              (405, "true", marker, "DELETE"), f"{method} of the marker")
        equal("last-modified" in headers, True, f"Last-Modified of {method}")
        if method == "GET":
            error = ElementTree.fromstring(text)
            equal([error.findtext(name) for name in ("Code", "Method", "ResourceType", "RequestId")],
                  ["MethodNotAllowed", "GET", "DeleteMarker", headers["x-amz-request-id"]], "document")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    equal(s3.list_objects_v2(Bucket=bucket)["KeyCount"], 0, "a list of objects")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read(), b"x", "the version below")
    equal(history(s3, bucket), [("k", version, False, False), ("k", marker, True, True)], "both are listed")
    # A marker upon a marker, and for a key that never was.
    second = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="never")
    equal(len(ids(s3, bucket, "k")), 3, "two markers")
    equal(len(ids(s3, bucket, "never")), 1, "a marker alone")
    for named in (second, marker):
        gone = s3.delete_object(Bucket=bucket, Key="k", VersionId=named)
        equal((gone["DeleteMarker"], gone["VersionId"]), (True, named), "a marker is deleted")
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], version, "visible again")


@check
def null_versions_come_from_before_and_from_suspension(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    equal(put(s3, bucket, "k", b"before"), None, "no id before versioning")
    equal("VersionId" in s3.get_object(Bucket=bucket, Key="k"), False, "nor in GET")
    equal(history(s3, bucket), [("k", NULL, False, True)], "listed as null")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=NULL)["Body"].read(), b"before", "by its name")
    switch(s3, bucket, "Enabled")
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], NULL, "of a versioned bucket")
    first = put(s3, bucket, "k", b"first")
    switch(s3, bucket, "Suspended")
    equal(put(s3, bucket, "k", b"suspended"), NULL, "a put while suspended")
    equal(sorted(ids(s3, bucket, "k")), sorted([first, NULL]), "it replaced the null version")
    equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"suspended", "current")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read(), b"first", "kept")
    done = s3.delete_object(Bucket=bucket, Key="k")
    equal((done["DeleteMarker"], done["VersionId"]), (True, NULL), "a null marker")
    equal(sorted(history(s3, bucket)), sorted([("k", NULL, True, True), ("k", first, False, False)]), "in its place")
    refused("MethodNotAllowed", s3.get_object, Bucket=bucket, Key="k", VersionId=NULL)
    equal(put(s3, bucket, "k", b"over the marker"), NULL, "a put upon the null marker")
    equal(len(ids(s3, bucket, "k")), 2, "still two")
    gone = s3.delete_object(Bucket=bucket, Key="k", VersionId=NULL)
    equal((gone["VersionId"], "DeleteMarker" in gone), (NULL, False), "null is deleted by name")
    equal(s3.get_object(Bucket=bucket, Key="k")["VersionId"], first, "first is current")
    switch(s3, bucket, "Enabled")
    put(s3, bucket, "k", b"enabled again")
    equal(len(ids(s3, bucket, "k")), 2, "a new version")


@check
def bulk_deletes_name_versions_and_markers(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    versions = {key: [put(s3, bucket, key, key.encode()) for _ in range(2)] for key in ("a", "b", "ü/c")}
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [
        {"Key": "a"}, {"Key": "b", "VersionId": versions["b"][0]}, {"Key": "never"}]})
    found = {item["Key"]: item for item in done["Deleted"]}
    equal((found["a"]["DeleteMarker"], "VersionId" in found["a"]), (True, False), "a marker is made")
    marker = found["a"]["DeleteMarkerVersionId"]
    equal((found["b"]["VersionId"], "DeleteMarker" in found["b"]), (versions["b"][0], False), "a version goes")
    equal(found["never"]["DeleteMarker"], True, "also for what never was")
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a", "VersionId": marker}]})["Deleted"][0]
    equal((done["VersionId"], done["DeleteMarker"], done["DeleteMarkerVersionId"]), (marker, True, marker), "a marker goes")
    equal(s3.get_object(Bucket=bucket, Key="a")["VersionId"], versions["a"][1], "visible again")
    errors = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a", "VersionId": "bad"}]})["Errors"]
    equal([item["Code"] for item in errors], ["InvalidArgument"], "a bad id")
    everything = [{"Key": key, "VersionId": version} for key, version, *_ in history(s3, bucket)]
    equal(len(s3.delete_objects(Bucket=bucket, Delete={"Objects": everything})["Deleted"]), len(everything), "all")
    equal(history(s3, bucket), [], "nothing is left")
    s3.delete_bucket(Bucket=bucket)


@check
def a_bucket_with_old_versions_or_markers_stays(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    version = put(s3, bucket, "k", b"x")
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    answer = refused("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
    equal("all versions" in answer["Error"]["Message"], True, answer["Error"]["Message"])
    s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker)
    s3.delete_bucket(Bucket=bucket)


@check
def conditions_look_at_the_current_version(server):
    s3 = server.client()
    bucket = versioned(server, s3)
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfNoneMatch="*")
    new = s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfMatch=old["ETag"])
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch=old["ETag"])
    refused("PreconditionFailed", s3.delete_object, Bucket=bucket, Key="k", IfMatch=old["ETag"])
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=new["ETag"])
    # The newest is a marker: as if there were nothing.
    refused("NoSuchKey", s3.put_object, Bucket=bucket, Key="k", Body=b"x", IfMatch=new["ETag"])
    refused("NoSuchKey", s3.delete_object, Bucket=bucket, Key="k", IfMatch="*")
    s3.put_object(Bucket=bucket, Key="k", Body=b"again", IfNoneMatch="*")
    equal(len(ids(s3, bucket, "k")), 4, "three versions and a marker")
    equal(s3.get_object(Bucket=bucket, Key="k", VersionId=old["VersionId"])["Body"].read(), b"old", "untouched")


def expected(model, prefix="", delimiter=""):
    """The whole list: (key, id) newest first, and (prefix, None)."""
    shown = []
    for key in sorted((key for key in model if key.startswith(prefix)), key=str.encode):
        rest = key[len(prefix):]
        if delimiter and delimiter in rest:
            entry = (prefix + rest.split(delimiter, 1)[0] + delimiter, None)
            if entry not in shown:
                shown.append(entry)
        else:
            shown += [(key, version) for version in reversed(model[key])]
    return shown


def pages(server, bucket, prefix, delimiter, size):
    """Follows a list of versions by hand, in the order of the documents."""
    names, more, rounds = [], {}, 0
    quoted = {"prefix": prefix, "delimiter": delimiter, "max-keys": str(size), "encoding-type": "url"}
    while True:
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sorted({**quoted, **more, "versions": ""}.items()))
        status, _, text = server.signed("GET", f"/{bucket}", query=query)
        equal(status, 200, query)
        space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        page = ElementTree.fromstring(text)
        found = []
        for item in page:
            kind = item.tag.removeprefix(space)
            if kind in ("Version", "DeleteMarker"):
                found.append((unquote_plus(item.findtext(f"{space}Key")), item.findtext(f"{space}VersionId")))
            elif kind == "CommonPrefixes":
                found.append((unquote_plus(item.findtext(f"{space}Prefix")), None))
        truncated = page.findtext(f"{space}IsTruncated") == "true"
        if len(found) > size or truncated and len(found) < size:
            raise AssertionError(f"{query}: a page of {len(found)}, truncated {truncated}")
        names += found
        rounds += 1
        if not truncated:
            return names
        if rounds > 5000:
            raise AssertionError(f"{query}: no end")
        more = {"key-marker": unquote_plus(page.findtext(f"{space}NextKeyMarker"))}
        if version := page.findtext(f"{space}NextVersionIdMarker"):
            more["version-id-marker"] = version


@check
def lists_of_versions_agree_with_a_model(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    model = {}
    keys = ["a", "a/", "a/b", "a/b/c", "a-b", "//", "b ", "b+c&d=e", "é", "日本/語", "dir/one", "dir/two", "z"]
    for key in keys[::2]:
        put(s3, bucket, key, b"null")
        model[key] = [NULL]
    switch(s3, bucket, "Enabled")
    for number, key in enumerate(keys):
        for _ in range(number % 4):
            model.setdefault(key, []).append(put(s3, bucket, key, b"x"))
        if number % 3 == 0:
            model.setdefault(key, []).append(s3.delete_object(Bucket=bucket, Key=key)["VersionId"])
    for prefix in ("", "a", "a/", "dir/", "/", "nothing"):
        for delimiter in ("", "/", "b"):
            want = expected(model, prefix, delimiter)
            for size in (1, 2, 7, 1000):
                got = pages(server, bucket, prefix, delimiter, size)
                # A document shows common prefixes last; by itself each group is in order.
                what = f"{prefix!r} {delimiter!r} {size}"
                equal([entry for entry in got if entry[1]], [entry for entry in want if entry[1]], what)
                equal([entry for entry in got if not entry[1]], [entry for entry in want if not entry[1]], what)
    page = s3.list_object_versions(Bucket=bucket, MaxKeys=0)
    equal((page["IsTruncated"], "Versions" in page, page["MaxKeys"]), (False, False, 0), "max-keys=0")
    equal(s3.list_object_versions(Bucket=bucket, MaxKeys=5000)["MaxKeys"], 1000, "max-keys beyond 1,000")
    refused("InvalidArgument", s3.list_object_versions, Bucket=bucket, VersionIdMarker=NULL)
    refused("InvalidArgument", s3.list_object_versions, Bucket=bucket, KeyMarker="a", VersionIdMarker="bad")
    # Behind a version that is gone the list goes on with what is older.
    key = next(key for key in keys if len(model.get(key, [])) >= 3)
    *older, last, current = model[key]
    s3.delete_object(Bucket=bucket, Key=key, VersionId=last)
    rest = history(s3, bucket, Prefix=key, KeyMarker=key, VersionIdMarker=last)
    equal([entry[1] for entry in rest if entry[0] == key], older[::-1], "behind a version that is gone")
