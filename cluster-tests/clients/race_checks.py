"""Conditional writes under contention: exactly one winner."""

import threading
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import ClientError

from harness import KIB, check, equal, refused

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
