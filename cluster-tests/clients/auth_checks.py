"""Who may: signatures, clocks, and presigned URLs."""

import json
import urllib.parse
from datetime import timedelta

from harness import body, check, equal, refused


def code(answer):
    status, _, text = answer
    _, _, rest = text.partition(b"<Code>")
    return status, rest.partition(b"</Code>")[0].decode()


@check
def strangers_and_wrong_secrets_are_refused(server):
    bucket = server.bucket()
    refused("SignatureDoesNotMatch", server.client(secret="wrong").list_objects_v2, Bucket=bucket)
    refused("SignatureDoesNotMatch", server.client(secret="wrong").put_object, Bucket=bucket, Key="k", Body=b"x")
    refused("InvalidAccessKeyId", server.client(user="nobody").list_objects_v2, Bucket=bucket)
    for method, path in (("GET", "/"), ("GET", f"/{bucket}"), ("PUT", f"/{bucket}/k"), ("DELETE", f"/{bucket}/k")):
        equal(code(server.plain(method, path)), (403, "AccessDenied"), f"anonymous {method} {path}")
    equal(server.client().list_objects_v2(Bucket=bucket)["KeyCount"], 0, "nothing was written")


@check
def old_and_future_signatures_are_refused(server):
    bucket = server.bucket()
    for minutes in (-20, 20):
        answer = server.signed("GET", f"/{bucket}", age=timedelta(minutes=minutes))
        equal(code(answer), (403, "RequestTimeTooSkewed"), f"{minutes} minutes")
    for minutes in (-10, 10):
        equal(server.signed("GET", f"/{bucket}", age=timedelta(minutes=minutes))[0], 200, f"{minutes} minutes")


@check
def presigned_urls_work_until_they_expire_or_are_changed(server):
    s3 = server.client(signature_version="s3v4")
    bucket, key, data = server.bucket(s3), "dir/ü +&=x.txt", body("presigned", 70000)

    def url(call, seconds=60, **named):
        made = s3.generate_presigned_url(call, {"Bucket": bucket, "Key": key, **named}, seconds)
        parts = urllib.parse.urlsplit(made)
        return f"{parts.path}?{parts.query}"

    equal(server.plain("PUT", url("put_object"), data)[0], 200, "presigned PUT")
    status, headers, got = server.plain("GET", url("get_object", ResponseContentType="a/b"))
    equal((status, headers["content-type"], got), (200, "a/b", data), "presigned GET")
    good = url("get_object")
    equal(code(server.plain("GET", good.replace("X-Amz-Expires=60", "X-Amz-Expires=61")))[1],
          "SignatureDoesNotMatch", "a changed lifetime")
    equal(code(server.plain("DELETE", good)), (403, "SignatureDoesNotMatch"), "another method")
    equal(code(server.plain("GET", good.replace("dir/", "dir2/")))[1], "SignatureDoesNotMatch", "another key")
    expired = url("get_object", seconds=1)
    answer = server.plain("GET", expired)
    while answer[0] == 200:
        answer = server.plain("GET", expired)
    equal(code(answer), (403, "AccessDenied"), "expired")
    equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), data, "untouched")


@check
def probes_need_no_key_and_metrics_do(server):
    for path in ("live", "ready", "cluster", "cluster/read"):
        equal(server.plain("GET", f"/minio/health/{path}")[0], 200, path)
    equal(server.plain("GET", "/minio/v2/metrics/cluster")[0], 403, "metrics without a token")


@check
def newer_admin_clients_hear_what_makes_them_ask_for_version_3(server):
    for method, path, status, code in (("GET", "v4/info", 426, "XMinioAdminVersionMismatch"), ("POST", "v4/service", 426, "XMinioAdminVersionMismatch"),
                                       ("PUT", "v1/add-user", 426, "XMinioAdminVersionMismatch"), ("GET", "v3/info", 501, "NotImplemented"),
                                       ("PUT", "v3/add-user", 501, "NotImplemented")):
        answer = server.signed(method, f"/minio/admin/{path}", b"x" if method == "PUT" else b"")
        equal((answer[0], json.loads(answer[2])["Code"]), (status, code), f"{method} {path}")
