"""Contention: conditional writes have exactly one winner, and readers read what they began."""

import hashlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError

from harness import KIB, MIB, NO_RETRIES, body, check, equal, refused

RACERS, ROUNDS = 16, 20


def race(server, call, named):
    """Starts one call per entry of `named` at once; returns their codes, None for success."""
    client, gate = server.client(), threading.Barrier(len(named))

    def run(arguments):
        gate.wait()
        try:
            getattr(client, call)(**arguments)
            return None
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(len(named)) as pool:
        return list(pool.map(run, named))


def one_winner(codes, losers):
    equal(codes.count(None), 1, f"winners of {codes}")
    if not set(codes) - {None} <= losers:
        raise AssertionError(f"losers were told {set(codes)}")
    return codes.index(None)


@check
def one_of_many_creators_wins(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    for number in range(ROUNDS):
        key, pad = f"lock-{number}", b"." * (200 * KIB if number % 4 == 0 else 1)
        bodies = [f"racer {racer}".encode() + pad for racer in range(RACERS)]
        codes = race(server, "put_object", [{"Bucket": bucket, "Key": key, "IfNoneMatch": "*", "Body": data}
                                            for data in bodies])
        winner = one_winner(codes, {"PreconditionFailed", "ConditionalRequestConflict"})
        equal(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), bodies[winner], "the winner's body")


@check
def one_of_many_swappers_wins(server):
    s3 = server.client()
    bucket = server.bucket(s3)
    etag = s3.put_object(Bucket=bucket, Key="head", Body=b"start")["ETag"]
    for number in range(ROUNDS):
        bodies = [f"round {number} racer {racer}".encode() for racer in range(RACERS)]
        codes = race(server, "put_object", [{"Bucket": bucket, "Key": "head", "IfMatch": etag, "Body": data}
                                            for data in bodies])
        winner = one_winner(codes, {"PreconditionFailed", "ConditionalRequestConflict"})
        got = s3.get_object(Bucket=bucket, Key="head")
        equal(got["Body"].read(), bodies[winner], "the winner's body")
        etag = got["ETag"]
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="head", IfMatch='"0"', Body=b"x")
    refused("NoSuchKey", s3.put_object, Bucket=bucket, Key="absent", IfMatch=etag, Body=b"x")
    refused("PreconditionFailed", s3.delete_object, Bucket=bucket, Key="head", IfMatch='"0"')
    s3.delete_object(Bucket=bucket, Key="head", IfMatch=etag)
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="head")


@check
def readers_see_whole_bodies_while_writers_write(server):
    s3 = server.client()
    bucket, stop, wrong = server.bucket(s3), threading.Event(), []
    bodies = [bytes([letter]) * (64 * KIB + 150 * KIB * (letter % 2)) for letter in range(8)]
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])

    def write(start):
        number = start
        while not stop.is_set():
            s3.put_object(Bucket=bucket, Key="k", Body=bodies[number % 8])
            number += 1

    def read():
        for _ in range(60):
            got = s3.get_object(Bucket=bucket, Key="k")["Body"].read()
            if got not in bodies:
                wrong.append((len(got), set(got)))

    with ThreadPoolExecutor(8) as pool:
        writers = [pool.submit(write, start) for start in range(4)]
        readers = [pool.submit(read) for _ in range(4)]
        try:
            for reader in readers:
                reader.result()
        finally:
            stop.set()
        for writer in writers:
            writer.result()
    equal(wrong, [], "mixed bodies")


@check
def readers_read_to_the_end_what_is_replaced_or_deleted(server):
    s3 = server.client()

    def files():
        return {path for drive in server.drives for path in (drive / "shards").rglob("*") if path.is_file()}

    bucket, old, new, before = server.bucket(s3), body("old", 24 * MIB), body("new", 24 * MIB), files()
    s3.put_object(Bucket=bucket, Key="k", Body=old)
    # The connection holds a part of it, and the server the rest.
    readers = [s3.get_object(Bucket=bucket, Key="k")["Body"] for _ in range(4)]
    read = [reader.read(MIB) for reader in readers]
    s3.put_object(Bucket=bucket, Key="k", Body=new)
    time.sleep(1)
    equal(read[0] + readers[0].read() == old, True, "read on after it was replaced")
    late = s3.get_object(Bucket=bucket, Key="k")["Body"]
    s3.delete_object(Bucket=bucket, Key="k")
    time.sleep(1)
    for number in (1, 2, 3):
        equal(read[number] + readers[number].read() == old, True, f"reader {number} after both")
    equal(late.read() == new, True, "read on after it was deleted")
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    deadline = time.monotonic() + 20
    while files() - before:
        equal(time.monotonic() < deadline, True, "files without row and reader are removed")
        time.sleep(0.1)


@check
def copies_and_reads_succeed_while_their_source_changes(server):
    s3 = server.client(**NO_RETRIES)
    bucket, stop = server.bucket(s3), threading.Event()
    bodies = [body(f"source {number}", 2 * MIB) for number in range(2)]
    etags = [f'"{hashlib.md5(data).hexdigest()}"' for data in bodies]
    s3.put_object(Bucket=bucket, Key="k", Body=bodies[0])
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]

    def write():
        number = 0
        while not stop.is_set():
            number += 1
            s3.put_object(Bucket=bucket, Key="k", Body=bodies[number % 2])

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(write) for _ in range(2)]
        try:
            for _ in range(60):
                source = {"Bucket": bucket, "Key": "k"}
                part = s3.upload_part_copy(Bucket=bucket, Key="copy", UploadId=upload, PartNumber=1, CopySource=source)
                equal(part["CopyPartResult"]["ETag"] in etags, True, "a part")
                equal(s3.copy_object(Bucket=bucket, Key="whole", CopySource=source)["CopyObjectResult"]["ETag"] in etags, True, "a copy")
                equal(s3.get_object(Bucket=bucket, Key="k")["Body"].read() in bodies, True, "a body")
        finally:
            stop.set()
        for writer in writers:
            writer.result()
