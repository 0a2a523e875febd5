"""THE DEMO: small honest SIP servers and phones, and the scene that plays them around a real balancer.

The cores (`server`, `phone`, and what they stand on) open no socket and read no clock: bytes and time come in as
arguments, datagrams go out as return values, so tests play whole calls in virtual time.
"""
