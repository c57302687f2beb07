"""Sign-in: a bearer token becomes a principal.

``token`` reads the token and its header, ``keys`` and ``issuer`` have the keys that verify it, ``claims`` checks what
a verified token contains, and ``authenticator`` combines these steps.
"""
