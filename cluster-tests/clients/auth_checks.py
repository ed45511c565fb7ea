"""Who may: signatures, clocks, and presigned URLs."""

import json
import re
import urllib.parse
from datetime import timedelta

from harness import REGION, Server, body, check, equal, refused, sign


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
def nobody_may_do_anything(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"stays")
    of_bucket = [("GET", ""), ("HEAD", ""), ("PUT", ""), ("DELETE", ""), ("POST", ""), ("POST", "delete="), ("GET", "location="), ("GET", "list-type=2"),
                 ("GET", "versions="), ("GET", "uploads="), ("GET", "versioning="), ("PUT", "versioning="), ("GET", "tagging="), ("GET", "acl="),
                 ("GET", "policy="), ("PUT", "policy="), ("GET", "analytics=")]
    of_key = [("GET", ""), ("HEAD", ""), ("PUT", ""), ("DELETE", ""), ("POST", "uploads="), ("POST", "uploadId=x"), ("PUT", "partNumber=1&uploadId=x"),
              ("GET", "uploadId=x"), ("DELETE", "uploadId=x"), ("GET", "tagging="), ("PUT", "tagging="), ("DELETE", "tagging="), ("GET", "acl="),
              ("GET", "torrent="), ("GET", "versionId=null"), ("DELETE", "versionId=null")]
    routes = [("GET", "/"), ("POST", "/"), ("PUT", "/new-bucket"), ("GET", "/not-there"), ("GET", "/not-there/k")]
    routes += [(method, f"/{bucket}?{query}") for method, query in of_bucket] + [(method, f"/{bucket}/k?{query}") for method, query in of_key]
    for method, target in routes:
        status, said = code(server.plain(method, target, b"" if method in ("PUT", "POST") else None))
        equal((status, said), (403, "" if method == "HEAD" else "AccessDenied"), f"{method} {target}")
    status, said = code(server.plain("PUT", f"/{bucket}/copy", b"", {"x-amz-copy-source": f"{bucket}/k"}))
    equal((status, said), (403, "AccessDenied"), "a copy")
    equal([item["Key"] for item in s3.list_objects_v2(Bucket=bucket)["Contents"]], ["k"], "nothing was changed")
    equal("Status" in s3.get_bucket_versioning(Bucket=bucket), False, "nothing was switched")


@check
def malformed_credentials_get_exact_codes():
    with Server(variables={"SARSEN_REGION": REGION}) as server:
        path = f"/{server.bucket()}"

        def said(change=lambda headers: headers, **how):
            status, _, text = server.plain("GET", path, None, change(sign("GET", server.address, path, "", {}, b"", **how)))
            return code((status, None, text))

        def authorization(old, new):
            return lambda headers: {**headers, "authorization": headers["authorization"].replace(old, new)}

        def without(name):
            return lambda headers: {key: value for key, value in headers.items() if key != name}

        malformed = (400, "AuthorizationHeaderMalformed")
        table = [("as it should be", lambda headers: headers, (200, "")), ("another region", authorization(REGION, "eu-west-1"), malformed),
                 ("another service", authorization("/s3/", "/ec2/"), malformed), ("another end", authorization("aws4_request", "aws4"), malformed),
                 ("an unknown field", authorization("SignedHeaders=", "Headers="), malformed),
                 ("another day", lambda headers: {**headers, "x-amz-date": "20200101T000000Z"}, malformed),
                 ("nothing but a name", lambda headers: {**headers, "authorization": "AWS4-HMAC-SHA256"}, malformed),
                 ("version 2", lambda headers: {**headers, "authorization": "AWS user:signature"}, (400, "InvalidRequest")),
                 ("a password", lambda headers: {**headers, "authorization": "Basic dTpw"}, (400, "InvalidRequest")),
                 ("no hash of the body", without("x-amz-content-sha256"), (400, "InvalidRequest")),
                 ("no date", without("x-amz-date"), (403, "AccessDenied")),
                 ("the host not signed", authorization("SignedHeaders=host;", "SignedHeaders="), (403, "AccessDenied")),
                 ("a header not signed", lambda headers: {**headers, "x-amz-meta-a": "1"}, (403, "AccessDenied")),
                 ("a session", lambda headers: {**headers, "x-amz-security-token": "t"}, (403, "AccessDenied"))]
        for what, change, want in table:
            equal(said(change), want, what)
        for content in ("nonsense", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"):
            equal(said(content=content), (400, "InvalidArgument"), content)


@check
def malformed_presigned_urls_get_exact_codes(server):
    s3 = server.client(signature_version="s3v4")
    bucket = server.bucket(s3)
    parts = urllib.parse.urlsplit(s3.generate_presigned_url("list_objects_v2", {"Bucket": bucket}, 60))
    good = f"{parts.path}?{parts.query}"
    malformed = (400, "AuthorizationQueryParametersError")
    table = [(good, (200, "")), (good + "&X-Amz-Signature=00", malformed), (f"/{bucket}?AWSAccessKeyId=a&Expires=9999999999&Signature=x", (400, "InvalidRequest")),
             (good.replace("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"), (400, "InvalidRequest"))]
    table += [(good.replace("X-Amz-Expires=60", f"X-Amz-Expires={seconds}"), malformed) for seconds in ("0", "-1", "604801", "x", "")]
    table += [(re.sub(f"&?X-Amz-{name}=[^&]*", "", good), malformed) for name in ("Date", "Signature", "SignedHeaders", "Credential", "Expires")]
    for target, want in table:
        equal(code(server.plain("GET", target)), want, target)
    both = sign("GET", server.address, f"/{bucket}", "", {}, b"")
    equal(code(server.plain("GET", good, None, both)), (400, "InvalidRequest"), "two credentials")


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
