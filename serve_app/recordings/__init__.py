"""Recordings of strangers: read once, at submit, in a process with limits, and kept as stereo of 48 kHz.

`decoder` runs that process for the API, and `process` is its main program. The other modules run inside it:
`parts` cuts a file into what is decoded one after the other, `decoding` makes blocks of samples of that,
`downmix` makes them stereo, `resampling` brings them to 48 kHz, and `conversion` writes them. Only `decoding`
imports PyAV.
"""
