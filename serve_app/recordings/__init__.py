"""Untrusted recordings: decoded once at submit, in a process with limits, and kept as 48 kHz stereo.

`decoder` has that process run for the API. `forks` starts the fork server, `fork_server` is its main program,
and `protocol` has the messages between them. `process` is what a fork does. The other modules run inside it:
`parts` divides a file into parts that are decoded one after the other, `decoding` decodes them to blocks of
samples, `downmix` makes these stereo, `resampling` converts them to 48 kHz, and `conversion` writes them.
Only `decoding` imports PyAV.
"""
