"""Measures the models' work on a GPU in five minutes, without a server."""
