// Graphile Worker with its local queue and batched completions: one process drains a full queue.
// Finished jobs are deleted: it keeps no history.

import { Logger, run, runMigrations } from "graphile-worker";
import pg from "pg";

const { host, port, user, database, tasks, concurrency, local_queue } = JSON.parse(process.argv[2]);
const place = { host, port: Number(port), user, database };

// Its own log would be in the time of the drain, one line a job: errors only.
const logger = new Logger(() => (level, message) => {
  if (level === "error") process.stderr.write(`${message}\n`);
});

const pool = new pg.Pool({ ...place, max: 20 });
pool.on("error", () => {});
pool.on("connect", (client) => client.on("error", () => {}));
await runMigrations({ pgPool: pool, logger });
await pool.query(
  "select graphile_worker.add_jobs(array(select row('noop', '{}'::json, null, null, null, null, null, null)" +
    "::graphile_worker.job_spec from generate_series(1, $1)))",
  [tasks],
);
await pool.query("vacuum analyze");
await pool.query("checkpoint");

let count = 0;
let handled;
const all = new Promise((resolve) => (handled = resolve));
const begun = process.hrtime.bigint();
const runner = await run({
  taskList: {
    noop: async () => {
      count += 1;
      if (count === tasks) handled();
    },
  },
  preset: {
    worker: {
      pgPool: pool,
      concurrentJobs: concurrency,
      localQueue: { size: local_queue },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      logger,
    },
  },
  pgPool: pool,
  noHandleSignals: true,
});
await all;
for (;;) {
  const { rows } = await pool.query("select exists (select from graphile_worker._private_jobs) as left");
  if (!rows[0].left) break;
  await new Promise((resolve) => setTimeout(resolve, 2));
}
const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
await runner.stop();
process.stdout.write(JSON.stringify({ per_second: tasks / seconds, seconds }));
process.exit(0);
