"""Certificates replaced under a running server: new connections get the new ones, and no old connection is dropped."""

import hashlib
import http.client
import os
import signal
import ssl
import subprocess

from harness import MIB, Server, body, check, equal, sign, soon


def certify(directory, name):
    """Makes a certificate in the way of MinIO's layout, and puts it in place. Returns its fingerprint."""
    directory.mkdir(exist_ok=True)
    new = [directory / f"new-{file}" for file in ("private.key", "public.crt")]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", new[0], "-out", new[1]], check=True, capture_output=True)
    certificate = ssl.PEM_cert_to_DER_cert(new[1].read_text())
    for path in new:
        os.replace(path, directory / path.name.removeprefix("new-"))
    return hashlib.sha256(certificate).hexdigest()


class TlsServer(Server):
    def connect(self):
        """A connection of its own, with whatever certificate."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=context)

    def plain(self, method, target, payload=None, headers=None):
        connection = self.connect()
        try:
            return ask(connection, method, target, payload, headers or {})
        finally:
            connection.close()

    def shown(self):
        """The fingerprint of the certificate that a new connection gets."""
        connection = self.connect()
        connection.connect()
        try:
            return fingerprint(connection)
        finally:
            connection.close()


def fingerprint(connection):
    return hashlib.sha256(connection.sock.getpeercert(binary_form=True)).hexdigest()


def ask(connection, method, target, payload=None, headers=None):
    connection.request(method, target, payload, headers or {})
    answer = connection.getresponse()
    return answer.status, dict(answer.getheaders()), answer.read()


@check
def replaced_certificates_are_for_new_connections_and_drop_no_old_one():
    server = TlsServer()
    certificates = server.home / "certs"
    server.flags = ["--certs-dir", str(certificates)]
    first = certify(certificates, "first")
    with server:
        equal(server.shown(), first, "the certificate")
        kept, busy, data = server.connect(), server.connect(), body("tls", MIB)
        kept.connect()
        socket = kept.sock
        equal(server.signed("PUT", "/bucket")[0], 200, "a bucket")
        # An upload that is under way all the while.
        busy.putrequest("PUT", "/bucket/key", skip_host=True)
        headers = sign("PUT", server.address, "/bucket/key", "", {}, data)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            busy.putheader(name, value)
        busy.endheaders(data[:MIB // 2])
        second = certify(certificates, "second")
        server.process.send_signal(signal.SIGHUP)
        soon("shown to new connections", lambda: server.shown() == second)
        equal((fingerprint(kept), ask(kept, "GET", "/minio/health/live")[0]), (first, 200), "the old connection")
        equal(kept.sock is socket, True, "it was not opened again")
        busy.send(data[MIB // 2:])
        equal(busy.getresponse().status, 200, "the upload")
        equal(server.signed("GET", "/bucket/key")[2] == data, True, "its bytes")
        # What is no certificate changes nothing.
        (certificates / "public.crt").write_text("no certificate")
        server.process.send_signal(signal.SIGHUP)
        soon("told", lambda: "a certificate was refused; the old one stays" in server.log.read_text())
        equal(server.shown(), second, "the certificate")
        third = certify(certificates, "third")
        server.process.send_signal(signal.SIGHUP)
        soon("mended", lambda: server.shown() == third)
        kept.close()
        busy.close()
