"""`python -m acestep_client.shell`."""

import sys

from acestep_client.shell.commands import main

sys.exit(main())
