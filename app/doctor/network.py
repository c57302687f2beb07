"""Checks of host names and of TLS, for each server that a setting names."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import time
from functools import partial
from urllib.parse import urlsplit

from app.doctor.check import Check
from app.doctor.findings import Finding, NotChecked, listed, ok, problem, shown, warning
from app.doctor.installation import Installation, is_loopback, variable_of
from app.upstream_tls import trusting
from clients.causes import cause_of
from clients.decode import display_name
from clients.errors import Service
from clients.http.dialing import resolved
from clients.http.messages import Origin
from clients.http.tls import default_context

EXPIRY_DAYS = 14
"""A certificate that expires earlier is a warning."""

_DAY_SECONDS = 86_400
_PORTS = {"http": 80, "https": 443, "redis": 6379, "rediss": 6379}
_EXPIRED, _NOT_YET, _WRONG_NAMES = 10, 9, frozenset({62, 64})
"""OpenSSL's codes of verification errors (X509_V_ERR_…)."""


def origin_at(installation: Installation, service: Service) -> Origin:
    """Return the scheme, host and port of a service. Raises NotChecked if the service's URL is not set."""
    if service is not Service.REDIS:
        return installation.service(service).site.origin
    installation.redis_server()
    parts = urlsplit(installation.settings.redis_url or "")
    if parts.hostname is None:
        raise NotChecked("REDIS_URL names a Unix socket.")
    return Origin(parts.scheme, parts.hostname, parts.port or _PORTS[parts.scheme])


async def _dns(service: Service, installation: Installation) -> Finding:
    host = (origin := origin_at(installation, service)).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return ok(f"{host} is an address.")
    try:
        async with asyncio.timeout(installation.options.seconds):
            found = await resolved(origin)
    except TimeoutError:
        return problem(
            f"DNS does not answer for the host name {host} of {variable_of(service)} within "
            f"{installation.options.seconds:g} s.",
            "Check the name servers of this machine (/etc/resolv.conf).",
        )
    except OSError as error:
        reason = "there is no such name, or DNS does not answer" if isinstance(error, socket.gaierror) else str(error)
        return problem(
            f"The host name {host} of {variable_of(service)} cannot be resolved: {reason}.",
            f"Correct the host in {variable_of(service)}. In a container, use the name of the service in the "
            "container's network.",
        )
    return ok(f"{host} is {listed(str(address[0]) for _, address in found)}.")


async def _tls(service: Service, installation: Installation) -> Finding:
    origin, variable = origin_at(installation, service), variable_of(service)
    if origin.scheme in {"http", "redis"}:
        if is_loopback(origin.host):
            return ok(f"{origin.host} is this machine, which needs no TLS.")
        sent = "passwords" if service is Service.REDIS else "keys"
        return warning(
            f"{variable} is a {origin.scheme}:// URL of another machine, so {sent} are sent in clear.",
            f"Use {origin.scheme}s://, unless a network that only your services reach connects the two machines.",
        )
    if service is Service.REDIS:
        raise NotChecked("redis.server checks the certificate with the options of REDIS_URL.")
    context = trusting(installation.settings.upstream_ca_bundle) or default_context()
    try:
        certificate = await handshake(origin, context, installation.options.seconds)
    except ssl.SSLCertVerificationError as error:
        return await _untrusted(error, origin, installation, service)
    except ssl.SSLError as error:
        return problem(
            f"{display_name(service)} does not speak TLS at {origin.host}:{origin.port}: {cause_of(error) or error}.",
            f"If the server speaks plain HTTP, write http:// in {variable}. Otherwise check the server's TLS settings.",
        )
    except OSError as error:  # TimeoutError is one
        raise NotChecked(f"There is no connection for TLS: {cause_of(error) or 'the connection failed'}.") from error
    return _expiry(certificate, origin)


def _expiry(certificate: dict[str, object], origin: Origin) -> Finding:
    ends = str(certificate.get("notAfter", ""))
    days = (ssl.cert_time_to_seconds(ends) - time.time()) / _DAY_SECONDS
    if days < EXPIRY_DAYS:
        return warning(
            f"The certificate of {origin.host} expires in {days:.0f} days, at {ends}.",
            "Renew the certificate. After its expiry, every call of the gateway fails.",
        )
    return ok(f"The certificate of {origin.host} is trusted, and valid until {ends}.")


async def _untrusted(
    error: ssl.SSLCertVerificationError, origin: Origin, installation: Installation, service: Service
) -> Finding:
    found = f"The certificate of {origin.host}:{origin.port} is not trusted: {shown(error.verify_message)}."
    match error.verify_code:
        case code if code == _EXPIRED:
            return problem(found, "Renew the certificate, and check this machine's clock.")
        case code if code == _NOT_YET:
            return problem(found, "Check this machine's clock, and the certificate's dates.")
        case code if code in _WRONG_NAMES:
            names = await _names_at(origin, installation.options.seconds)
            has = f" The certificate is for {listed(names)}." if names else ""
            return problem(
                f"{found}{has}",
                f"Write a host name of the certificate in {variable_of(service)}, or issue a certificate for "
                f"{origin.host}.",
            )
    return problem(
        found,
        "If the certificate comes from an authority of your own, set UPSTREAM_CA_BUNDLE to a PEM file with the "
        "authority's certificate. If intermediate certificates are missing, add them at the server.",
    )


async def handshake(origin: Origin, context: ssl.SSLContext, seconds: float) -> dict[str, object]:
    """Connect with TLS, and return the certificate's facts. Raises OSError, of which ssl.SSLError is one."""
    async with asyncio.timeout(seconds):
        name = origin.host.rstrip(".")
        _, writer = await asyncio.open_connection(origin.host, origin.port, ssl=context, server_hostname=name)
    facts: dict[str, object] = writer.get_extra_info("peercert") or {}
    writer.transport.abort()
    return facts


async def speaks_tls(origin: Origin, seconds: float) -> bool:
    """Return whether a server speaks TLS, whatever its certificate is."""
    try:
        await handshake(origin, _unverified(), seconds)
    except OSError:
        return False
    return True


def _unverified() -> ssl.SSLContext:
    """Return a context for a connection over which nothing is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def _names_at(origin: Origin, seconds: float) -> list[str]:
    """Return the names of a server's certificate."""
    from cryptography import x509  # noqa: PLC0415 - slow to import

    try:
        async with asyncio.timeout(seconds):
            _, writer = await asyncio.open_connection(origin.host, origin.port, ssl=_unverified())
        raw = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.transport.abort()
        names = x509.load_der_x509_certificate(raw).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return [str(name.value) for name in names.value]
    except (OSError, ValueError, x509.ExtensionNotFound):
        return []


def checks_of(service: Service) -> tuple[Check, Check]:
    """Return the checks of a service's host name and of its TLS."""
    group, name = service.value, display_name(service)
    return (
        Check(
            name=f"{group}.dns",
            looks_at=f"a host name in `{variable_of(service)}` that cannot be resolved",
            run=partial(_dns, service),
        ),
        Check(
            name=f"{group}.tls",
            looks_at=(
                "a connection to another machine without TLS"
                if service is Service.REDIS
                else f"{name}'s certificate: an unknown authority, a wrong host name, an expiry within {EXPIRY_DAYS} "
                "days; `https://` for a server without TLS; a connection to another machine without TLS"
            ),
            run=partial(_tls, service),
            needs=(f"{group}.dns",),
        ),
    )
