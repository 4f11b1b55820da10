# Verifies all signatures of 0.eml to COUNT-1.eml in FOLDER with dkimpy; prints "N pass" or "N what is wrong".
#
#   dkimpy-verify.py DNS_SERVER DNS_PORT FOLDER COUNT

import functools
import os
import sys

import dkim
import dns.resolver

server, port, folder, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers = [server]
resolver.port = port


@functools.lru_cache(maxsize=None)
def text_of(name, timeout=5):
    answer = resolver.resolve(name.decode() if isinstance(name, bytes) else name, "TXT", lifetime=timeout)
    return b"".join(next(iter(answer)).strings)


def verdict_of(content):
    message = dkim.DKIM(content, timeout=5)
    signatures = sum(1 for name, _ in message.headers if name.lower() == b"dkim-signature")
    if signatures == 0:
        return "no signature"
    for index in range(signatures):
        try:
            if not message.verify(index, dnsfunc=text_of):
                return f"signature {index} is not good"
        except dkim.DKIMException as error:
            return f"signature {index}: {error}"
    return "pass"


for number in range(count):
    with open(os.path.join(folder, f"{number}.eml"), "rb") as file:
        print(number, verdict_of(file.read()))
