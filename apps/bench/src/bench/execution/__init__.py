"""Processes, hosts, memory, caches and progress."""
