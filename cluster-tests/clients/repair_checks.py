"""Drives replaced and rolled back: everything is made whole again, as the census says, and only then called healed."""

import shutil
import subprocess
import sys
import time

from damage_checks import fill, verify
from harness import ROOT, Server, check, soon

HEAL_SECONDS = 120
PUBLIC = {"SARSEN_PROMETHEUS_AUTH_TYPE": "public"}


def healed(server):
    """Waits until no drive joins and a recount found everything whole."""
    soon("healed", lambda: server.metric("sarsen_drives_joining") == 0 and server.metric("sarsen_healed") == 1, HEAL_SECONDS)


def census(server, drives=None):
    """The second opinion, which shares no code with the server."""
    done = subprocess.run([sys.executable, ROOT / "scripts/census", *(drives or server.drives)],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise AssertionError(f"census: exit {done.returncode}\n{done.stdout[-3000:]}")


def empty(drive):
    """What a person does who changes a disk: an empty directory in the same place."""
    shutil.rmtree(drive)
    drive.mkdir()


@check
def a_replaced_drive_is_rebuilt_and_votes():
    with Server(variables=PUBLIC) as server:
        bucket, want = fill(server)
        # Every drive, one after another: nothing of the first ones is left.
        for drive in server.drives:
            server.stop()
            empty(drive)
            server.start()
            verify(server, bucket, want, f"{drive.name} replaced")
            healed(server)
        server.stop()
        census(server)
        server.start()
        healed(server)
        for drive in server.drives[2:]:
            shutil.rmtree(drive)
        verify(server, bucket, want, "read from two drives that were replaced")


@check
def as_many_drives_as_there_is_parity_are_replaced_at_once():
    with Server(variables=PUBLIC) as server:
        bucket, want = fill(server)
        # The cluster secret and the ledger too are on two drives alone, first these and then those.
        for gone in (server.drives[:2], server.drives[2:]):
            server.stop()
            for drive in gone:
                empty(drive)
            server.start()
            verify(server, bucket, want, "two drives replaced")
            healed(server)
        server.stop()
        census(server)


@check
def a_rebuild_that_is_killed_is_done_again():
    with Server(variables=PUBLIC) as server:
        bucket, want = fill(server)
        server.kill()
        empty(server.drives[1])
        for pause in (0.01, 0.05, 0.1, 0.2, 0.4):
            server.start()
            time.sleep(pause)
            server.kill()
        server.start()
        verify(server, bucket, want, "after killed rebuilds")
        healed(server)
        server.stop()
        census(server)


@check
def a_drive_put_back_from_a_copy_does_not_vote_before_it_is_rebuilt():
    with Server(variables=PUBLIC) as server:
        bucket, want = fill(server, 20)
        server.stop()
        drive, copy = server.drives[0], server.home / "copy"
        shutil.copytree(drive, copy)
        server.start()
        s3 = server.client()
        for key in [key for key, digest in want.items() if digest][::2]:
            s3.delete_object(Bucket=bucket, Key=key)
            want[key] = None
        # Each drive's batches name what its peers had acknowledged before.
        s3.put_object(Bucket=bucket, Key="last", Body=b"last")
        s3.delete_object(Bucket=bucket, Key="last")
        server.stop()
        shutil.rmtree(drive)
        copy.rename(drive)
        server.start()
        if "knows less than its peers remember" not in server.log.read_text():
            raise AssertionError("the rolled-back drive was not recognised")
        verify(server, bucket, want, "with a drive rolled back")
        healed(server)
        server.stop()
        census(server)
