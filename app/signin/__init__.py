"""Sign-in: verifies a request's bearer token, and returns the token's user.

``token`` reads the token and its header. ``keys`` and ``issuer`` provide the keys that verify the token. ``claims``
checks the verified token's claims. ``authenticator`` combines these steps.
"""
