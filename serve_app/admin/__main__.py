"""`python -m serve_app.admin`."""

import sys

from serve_app.admin.commands import main

sys.exit(main())
