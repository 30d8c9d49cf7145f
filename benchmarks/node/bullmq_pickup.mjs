// BullMQ on Redis: how soon an idle worker begins a job after add() has answered. Two processes, one monotonic clock.

import { fork } from "node:child_process";
import { Queue, Worker } from "bullmq";

const { socket, pickups } = JSON.parse(process.argv[2]);
const connection = { path: socket, maxRetriesPerRequest: null };
const queue = new Queue("pickup", { connection });
const now = () => Number(process.hrtime.bigint());

if (process.env.BENCH_WORKER) {
  const started = [];
  const worker = new Worker(
    "pickup",
    async (job) => {
      started.push([job.id, now()]);
      if (started.length === pickups) process.send(started);
    },
    { connection, concurrency: 100 },
  );
  await worker.waitUntilReady();
  process.send("ready");
} else {
  await queue.obliterate({ force: true });
  const child = fork(process.argv[1], process.argv.slice(2), { env: { ...process.env, BENCH_WORKER: "1" } });
  const message = () => new Promise((resolve) => child.once("message", resolve));
  await message();
  await new Promise((resolve) => setTimeout(resolve, 2000));
  const results = message();
  const sent = new Map();
  const added = new Map();
  for (let number = 0; number < pickups; number += 1) {
    await new Promise((resolve) => setTimeout(resolve, 50 + Math.random() * 200));
    const begun = now();
    const job = await queue.add("stamp", {});
    added.set(job.id, now());
    sent.set(job.id, begun);
  }
  const started = await results;
  const rank = (values, share) => values.sort((a, b) => a - b)[Math.round((values.length - 1) * share)];
  const afterAdd = started.map(([id, at]) => Math.max(at - added.get(id), 0) / 1e6);
  const afterSend = started.map(([id, at]) => (at - sent.get(id)) / 1e6);
  process.stdout.write(
    JSON.stringify({
      p50_ms: rank(afterAdd, 0.5),
      p99_ms: rank(afterAdd, 0.99),
      sent_p50_ms: rank(afterSend, 0.5),
      sent_p99_ms: rank(afterSend, 0.99),
    }),
  );
  child.kill();
  process.exit(0);
}
