"""A process that tests kill: `python -m tests.store_writer LOCATION` writes batches without end.

It prints the number of each batch once the store has confirmed that it is durable.
"""

import sys
from itertools import count

from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_job

BATCH = 3

if __name__ == "__main__":
    store = open_store(sys.argv[1])
    for batch in count():
        jobs = [a_job(batch * BATCH + index, progress=batch / 1e6) for index in range(BATCH)]
        store.write({job.job_id: job for job in jobs})
        print(batch, flush=True)
