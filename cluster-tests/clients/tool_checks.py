"""awscli, s5cmd and rclone do real work: trees of files up and down, compared byte by byte."""

import json

from harness import KIB, MIB, body, check, equal, read_tree, same_tree, tree

FILES = 1000


@check
def awscli_copies_and_syncs(server):
    bucket, home = server.bucket(), server.home / "aws"
    up, down = home / "up", home / "down"
    want = tree(up, 120, "aws")
    big = body("aws big", 20 * MIB + 3)
    (home / "big").write_bytes(big)
    server.tool("aws", "s3", "cp", home / "big", f"s3://{bucket}/big")
    server.tool("aws", "s3", "cp", f"s3://{bucket}/big", home / "back")
    equal((home / "back").read_bytes() == big, True, "20 MiB through aws s3 cp")
    server.tool("aws", "s3", "sync", up, f"s3://{bucket}/tree/", "--only-show-errors")
    server.tool("aws", "s3", "sync", f"s3://{bucket}/tree/", down, "--only-show-errors")
    same_tree(read_tree(down), want, "aws s3 sync")
    equal(server.tool("aws", "s3", "sync", up, f"s3://{bucket}/tree/").strip(), "", "a second sync has nothing to do")
    head = json.loads(server.tool("aws", "s3api", "head-object", "--bucket", bucket, "--key", "big"))
    equal(head["ContentLength"], len(big), "s3api head-object")
    server.tool("aws", "s3", "rm", "--recursive", f"s3://{bucket}/", "--only-show-errors")
    server.tool("aws", "s3", "rb", f"s3://{bucket}")


@check
def awscli_mirrors_deletions(server):
    bucket, up = server.bucket(), server.home / "aws-mirror"
    want = tree(up, 30, "mirror")
    server.tool("aws", "s3", "sync", up, f"s3://{bucket}", "--only-show-errors")
    gone = sorted(want)[::3]
    for name in gone:
        (up / name).unlink()
    server.tool("aws", "s3", "sync", "--delete", up, f"s3://{bucket}", "--only-show-errors")
    left = [item["Key"] for item in server.client().list_objects_v2(Bucket=bucket)["Contents"]]
    equal(left, sorted(set(want) - set(gone), key=str.encode), "left after sync --delete")


@check
def s5cmd_moves_a_thousand_files(server):
    bucket, home = server.bucket(), server.home / "s5cmd"
    want = tree(home / "up", FILES, "s5cmd")
    server.tool("s5cmd", "--numworkers", "32", "cp", f"{home / 'up'}/", f"s3://{bucket}/tree/")
    listed = server.tool("s5cmd", "ls", f"s3://{bucket}/tree/*").strip().splitlines()
    equal(len(listed), FILES, "s5cmd ls")
    server.tool("s5cmd", "--numworkers", "32", "cp", f"s3://{bucket}/tree/*", f"{home / 'down'}/")
    same_tree(read_tree(home / "down"), want, "s5cmd cp")
    server.tool("s5cmd", "rm", f"s3://{bucket}/tree/*")
    equal(server.client().list_objects_v2(Bucket=bucket)["KeyCount"], 0, "left after s5cmd rm")


@check
def rclone_syncs_a_thousand_files(server):
    bucket, home = server.bucket(), server.home / "rclone"
    want = tree(home / "up", FILES, "rclone")
    flags = ["--s3-no-check-bucket", "--transfers", "16", "--checkers", "16"]
    server.tool("rclone", "sync", home / "up", f"S:{bucket}/tree", *flags)
    server.tool("rclone", "check", "--download", home / "up", f"S:{bucket}/tree", *flags)
    server.tool("rclone", "sync", f"S:{bucket}/tree", home / "down", *flags)
    same_tree(read_tree(home / "down"), want, "rclone sync")
    gone = sorted(want)[::4]
    for name in gone:
        (home / "up" / name).unlink()
    server.tool("rclone", "sync", home / "up", f"S:{bucket}/tree", *flags)
    listed = server.tool("rclone", "lsf", "-R", "--files-only", f"S:{bucket}/tree", *flags).splitlines()
    equal(sorted(listed), sorted(set(want) - set(gone)), "after rclone sync deleted")


@check
def large_files_go_in_parts_by_every_tool(server):
    bucket, home = server.bucket(), server.home / "large"
    home.mkdir()
    s3 = server.client()
    # Each above the size from which the tool uploads in parts: 8 MiB, 50 MiB and 200 MiB.
    for tool, size in (("aws", 40 * MIB + 1), ("s5cmd", 120 * MIB + 1), ("rclone", 210 * MIB + 1)):
        data = body(tool, size)
        (home / "up").write_bytes(data)
        if tool == "rclone":
            server.tool("rclone", "copyto", home / "up", f"S:{bucket}/rclone", "--s3-no-check-bucket")
            server.tool("rclone", "copyto", f"S:{bucket}/rclone", home / "down")
        else:
            cp = ("aws", "s3", "cp") if tool == "aws" else ("s5cmd", "cp")
            server.tool(*cp, home / "up", f"s3://{bucket}/{tool}")
            server.tool(*cp, f"s3://{bucket}/{tool}", home / "down")
        equal((home / "down").read_bytes() == data, True, f"{tool}: {size} bytes there and back")
        etag = s3.head_object(Bucket=bucket, Key=tool)["ETag"]
        equal("-" in etag, True, f"{tool} uploaded in parts: {etag}")
        (home / "up").unlink()
        (home / "down").unlink()
    equal("Uploads" in s3.list_multipart_uploads(Bucket=bucket), False, "uploads left open")


@check
def one_clients_objects_are_anothers(server):
    bucket, home = server.bucket(), server.home / "mixed"
    home.mkdir()
    data = body("mixed", 900 * KIB)
    (home / "one").write_bytes(data)
    server.tool("s5cmd", "cp", home / "one", f"s3://{bucket}/s5")
    server.tool("rclone", "copyto", home / "one", f"S:{bucket}/rc", "--s3-no-check-bucket")
    server.tool("aws", "s3", "cp", home / "one", f"s3://{bucket}/aws")
    s3 = server.client()
    for key in ("s5", "rc", "aws"):
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read() == data, True, f"boto3 reads {key}")
    for key in ("s5", "rc"):
        equal(server.tool("aws", "s3", "cp", f"s3://{bucket}/{key}", home / f"{key}-back") and
              (home / f"{key}-back").read_bytes() == data, True, f"awscli reads {key}")
