"""Descriptions of layers, the stack of them, and networks: a stack with its parameters."""
