"""Processes, hosts, memory and messages."""
