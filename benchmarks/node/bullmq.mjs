// BullMQ on Redis: one worker drains a full queue.

import { Queue, Worker } from "bullmq";

const { socket, tasks, concurrency } = JSON.parse(process.argv[2]);
const connection = { path: socket, maxRetriesPerRequest: null };

const queue = new Queue("bench", { connection });
await queue.obliterate({ force: true });
for (let start = 0; start < tasks; start += 5000) {
  const size = Math.min(5000, tasks - start);
  await queue.addBulk(Array.from({ length: size }, () => ({ name: "noop", data: {} })));
}

let count = 0;
let handled;
const all = new Promise((resolve) => (handled = resolve));
const worker = new Worker(
  "bench",
  async () => {
    count += 1;
    if (count === tasks) handled();
  },
  { connection, concurrency, autorun: false },
);
await worker.waitUntilReady();
const begun = process.hrtime.bigint();
worker.run();
await all;
for (;;) {
  const { wait, active } = await queue.getJobCounts("wait", "active");
  if (wait + active === 0) break;
  await new Promise((resolve) => setTimeout(resolve, 2));
}
const seconds = Number(process.hrtime.bigint() - begun) / 1e9;
await worker.close();
await queue.obliterate({ force: true });
process.stdout.write(JSON.stringify({ per_second: tasks / seconds, seconds }));
process.exit(0);
