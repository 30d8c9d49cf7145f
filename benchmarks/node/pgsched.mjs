// pgsched by the worker of clients/typescript: one process drains a full queue. Full history, fencing, leases.

import { pathToFileURL } from "node:url";
import pg from "pg";

const { host, port, user, database, tasks, concurrency, client } = JSON.parse(process.argv[2]);
const { Worker } = await import(pathToFileURL(client).href);
const connection = { host, port: Number(port), user, database };

const pool = new pg.Pool({ ...connection, max: 2 });
pool.on("error", () => undefined);
await pool.query("insert into pgsched.tasks (task_type) select 'noop' from generate_series(1, $1)", [tasks]);
await pool.query("vacuum analyze");
await pool.query("checkpoint");

let count = 0;
let handled;
const all = new Promise((resolve) => (handled = resolve));
const worker = new Worker({
  connection,
  concurrency,
  signals: false,
  handlers: {
    noop: async () => {
      count += 1;
      if (count === tasks) handled();
    },
  },
});
const begun = process.hrtime.bigint();
const running = worker.run();
await all;
for (;;) {
  const { rows } = await pool.query("select exists (select from pgsched.tasks where next_run_at is not null) as left");
  if (!rows[0].left) break;
  await new Promise((resolve) => setTimeout(resolve, 2));
}
const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
worker.stop();
await running;
const { rows } = await pool.query(
  "select count(*)::int as n, count(distinct task_id)::int as tasks from pgsched.executions where status = 'completed'",
);
if (rows[0].n !== tasks || rows[0].tasks !== tasks) {
  throw new Error(`${tasks} tasks, but the history has ${JSON.stringify(rows[0])}`);
}
process.stdout.write(JSON.stringify({ per_second: tasks / seconds, seconds }));
process.exit(0);
