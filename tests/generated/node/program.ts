// Schedules tasks by the generated module, within transactions, and prints what it got as JSON.
// The database is named by PGHOST, PGPORT, PGUSER and PGDATABASE.
import { Client } from "pg";
import { schedule, scheduleOpen, scheduleOrderPlace, type TaskPayloads } from "./tasks";

const order: TaskPayloads["order.place"] = {
  number: 7,
  lines: [{ sku: "x", price: "1.50" }],
  colour: "red",
  tree: { name: "root", children: [{ name: "leaf" }] },
  pair: [1, "two"],
};

export function refusedByTheCompiler(db: Client): void {
  // @ts-expect-error: number must be a number
  void scheduleOrderPlace(db, { ...order, number: "7" });
  // @ts-expect-error: colour is missing
  void scheduleOrderPlace(db, { number: 7, lines: [] });
  // @ts-expect-error: no such colour
  void scheduleOrderPlace(db, { ...order, colour: "green" });
  // @ts-expect-error: no such type
  void schedule(db, "order.cancel", {});
  // @ts-expect-error: no such option
  void scheduleOpen(db, {}, { colour: "red" });
}

async function main(): Promise<void> {
  const db = new Client();
  await db.connect();
  await db.query("begin");
  await scheduleOrderPlace(db, order);
  await db.query("rollback");
  await db.query("begin");
  const made = await scheduleOrderPlace(db, order, {
    queue: "shop",
    priority: 9,
    runAt: new Date("2030-01-01T00:00:00Z"),
    tags: ["vip", 'a "quoted" one'],
    metadata: { from: "node" },
    timeout: 30,
    idempotencyKey: "order-7",
    tenantId: "acme",
  });
  const again = await scheduleOrderPlace(db, order, { idempotencyKey: "order-7", priority: 3 });
  const late = await schedule(db, "open", { anything: [1, null, "ü"] }, { delay: "1 hour", dependsOn: [made.id] });
  const unique = { by: ["payload.shop"], within: 60 };
  const first = await schedule(db, '"; drop table x; --', {}, { unique });
  const second = await schedule(db, '"; drop table x; --', {}, { unique });
  await db.query("commit");
  let refused = "";
  await schedule(db, "open", {}, { priority: 99 }).catch((error: Error) => (refused = error.message));
  await db.end();
  console.log(JSON.stringify({ made, again, late, first, second, refused }));
}

void main();
