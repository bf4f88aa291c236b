"""A process that tests kill: `python -m tests.store_writer LOCATION` writes batches without end.

Each write also changes the state of the batch before. It prints the number of each batch once the store has
confirmed that it is durable.
"""

import sys
from itertools import count

from serve_app.jobs.model import Job
from serve_app.jobs.storing.stores import open_store
from tests.job_records import a_job

BATCH = 3

if __name__ == "__main__":
    store = open_store(sys.argv[1])
    before: list[Job] = []
    for batch in count():
        jobs = [a_job(batch * BATCH + index, progress=batch / 1e6) for index in range(BATCH)]
        renewed = [job.with_(stage="planning") for job in before]
        store.write({job.job_id: job for job in [*jobs, *renewed]})
        print(batch, flush=True)
        before = jobs
