"""Adapters at work: `mounting` prepares one for a DiT, `products` adds it to the forward, `store` keeps some.

Rows of different adapters share each forward. Only the low-rank products of an adapter are computed for its
own rows, so rows without an adapter are computed as if there were none.
"""
