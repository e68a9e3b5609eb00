"""Which language: everything that decides what protocol a connection speaks, before or during the handshake.

Reading order: `names`, `client_hello`, `http_preface`, `detection`, `select`, `override`.
No TLS cryptography, no codecs, no sockets.
"""
