"""Somebody who asks a server for `/health` every 5 ms: as long as it blocks, the answer is late.

    python -m tests.bench.poller PORT

For each line on its input it prints the seconds of the slowest answer since the last.
"""

import http.client
import select
import sys
import time

_PAUSE = 0.005


def _main(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    slowest = 0.0
    while True:
        asked = time.monotonic()
        connection.request("GET", "/health")
        connection.getresponse().read()
        slowest = max(slowest, time.monotonic() - asked)
        if select.select([sys.stdin], [], [], _PAUSE)[0]:
            if not sys.stdin.readline():
                return
            print(slowest, flush=True)
            slowest = 0.0


if __name__ == "__main__":
    _main(int(sys.argv[1]))
