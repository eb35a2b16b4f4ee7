"""`python -m streamproxy`."""

from streamproxy.cli import main

main(prog_name="streamproxy")
