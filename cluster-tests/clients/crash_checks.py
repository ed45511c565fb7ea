"""kill -9 under mixed load. What was acknowledged is there; what was in flight is old or new."""

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor

from botocore.exceptions import BotoCoreError, ClientError

from harness import KIB, MIB, NO_RETRIES, Server, body, check, equal, sha256
from repair_checks import PUBLIC, healed

CYCLES = int(os.environ.get("SARSEN_KILL_CYCLES", "30"))
WRITERS, KEYS = 8, 6
SIZES = [0, 100, 4 * KIB, 100 * KIB, 130 * KIB, MIB + 1]


class Key:
    """One key and what may be read from it: the digest, or None where there is nothing.

    The first of `may_be` is what was acknowledged or read last; what follows was cut off and may
    still happen, once (commit rule 7)."""

    def __init__(self, name):
        self.name = name
        self.may_be = [None]

    def write(self, s3, bucket, data):
        """A PUT, or a DELETE if there is no data. Unknown until it is acknowledged."""
        digest = None if data is None else sha256(data)
        self.may_be.append(digest)
        if data is None:
            s3.delete_object(Bucket=bucket, Key=self.name)
        else:
            s3.put_object(Bucket=bucket, Key=self.name, Body=data)
        self.may_be = [digest]

    def read(self, s3, bucket):
        try:
            return sha256(s3.get_object(Bucket=bucket, Key=self.name)["Body"].read())
        except ClientError as error:
            equal(error.response["Error"]["Code"], "NoSuchKey", self.name)
            return None

    def look(self, s3, bucket, cycle):
        """What is read must be allowed, and what has happened stays."""
        got = self.read(s3, bucket)
        if got not in self.may_be:
            raise AssertionError(f"cycle {cycle}: {self.name} is {got}, may be {self.may_be}")
        if got != self.may_be[0]:
            self.may_be = [got]
        return got

    def settle(self, s3, bucket, cycle):
        """From now on only this is read: nothing is left that may still happen."""
        self.may_be = [self.look(s3, bucket, cycle)]
        return self.may_be[0]


def load(server, bucket, keys, dice, stop):
    """Writes, overwrites and deletes until the server is gone; returns how many were acknowledged."""
    s3, done = server.client(**NO_RETRIES), 0
    while not stop.is_set():
        key, size = dice.choice(keys), dice.choice(SIZES)
        data = None if dice.random() < 0.15 else body(dice.random(), size)
        try:
            key.write(s3, bucket, data)
            done += 1
        except (BotoCoreError, ClientError) as error:
            if not stop.is_set() and isinstance(error, ClientError):
                raise
            return done
    return done


@check
def no_acknowledged_write_is_lost_by_kill_9():
    seed = os.environ.get("SARSEN_SEED", str(random.SystemRandom().randrange(1 << 32)))
    print(f"       seed {seed} (SARSEN_SEED), {CYCLES} cycles (SARSEN_KILL_CYCLES)", flush=True)
    dice, acknowledged = random.Random(seed), 0
    with Server(variables=PUBLIC) as server:
        bucket = server.bucket()
        keys = [[Key(f"writer-{writer}/{number}") for number in range(KEYS)] for writer in range(WRITERS)]
        for cycle in range(CYCLES):
            stop = threading.Event()
            with ThreadPoolExecutor(WRITERS) as pool:
                running = [pool.submit(load, server, bucket, mine, random.Random(dice.random()), stop) for mine in keys]
                stop.wait(dice.uniform(0.05, 0.8))
                stop.set()
                server.kill()
                acknowledged += sum(future.result() for future in running)
            server.start()
            s3, everything = server.client(), [key for mine in keys for key in mine]
            for key in everything:
                key.look(s3, bucket, cycle)
            # A recount finishes what was cut off, or sees that nothing of it is left.
            healed(server)
            there = [key.name for key in everything if key.settle(s3, bucket, f"{cycle}, healed") is not None]
            listed = [item["Key"] for item in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
            equal(listed, sorted(there), f"cycle {cycle}: list")
            for key in everything:
                key.settle(s3, bucket, f"{cycle}, read again")
    if acknowledged < CYCLES:
        raise AssertionError(f"only {acknowledged} writes in {CYCLES} cycles: nothing was shown")
    print(f"       {acknowledged} acknowledged writes", flush=True)
