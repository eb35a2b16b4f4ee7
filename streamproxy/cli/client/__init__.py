"""The commands that talk to a running proxy through its API.

They start fast: what takes long to import (HTTP, tables, the configuration) is imported when a command needs it.
"""
