"""Adapters: small files that change how a DiT makes music, in the forms in which people share them.

folders -> header -> forms -> outline -> reading

`folders` finds files by name, `header` reads what a file says it holds, `forms` understands its keys,
`outline` checks them against a DiT, and `reading` loads the numbers. Only `reading` needs torch.
"""
