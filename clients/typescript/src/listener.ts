/** LISTEN on a connection of its own, opened again when it is lost. */

import pg from "pg";
import { messageOf } from "./json.js";
import type { Logger } from "./log.js";
import { configOf, type ConnectionOptions } from "./session.js";
import { Backoff, Wakeup } from "./waiting.js";

export const WORK = "pgsched";
export const CANCEL = "pgsched_cancel";
export const QUEUES = "pgsched_queues";
export const WORKERS = "pgsched_workers";
const CHANNELS = [WORK, CANCEL, QUEUES, WORKERS];
/** Milliseconds after which a silent connection is tried: its peer may have vanished. */
const PROBE = 30_000;

export class Listener {
  private client: pg.Client | undefined;
  private stopped = false;
  private readonly ending = new Wakeup();

  constructor(
    private readonly connection: ConnectionOptions,
    private readonly log: Logger,
    private readonly onNotification: (channel: string, payload: string) => void,
    /** Called when it listens: what was said before was not heard. */
    private readonly onReady: () => void,
  ) {}

  /** Listen until stopped. */
  async run(): Promise<void> {
    const backoff = new Backoff();
    while (!this.stopped) {
      try {
        await this.listen(() => backoff.reset());
      } catch (error) {
        if (!this.stopped) {
          this.log.warning("listener_lost", { error: messageOf(error) });
          await this.ending.wait(backoff.next());
        }
      }
    }
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.ending.wake();
    await this.client?.end().catch(() => undefined);
  }

  private async listen(ready: () => void): Promise<void> {
    const client = new pg.Client(configOf(this.connection, "listener", 10_000));
    this.client = client;
    let probe: NodeJS.Timeout | undefined;
    try {
      const lost = new Promise<never>((_, reject) => {
        client.on("error", reject);
        client.on("end", () => reject(new Error("the connection was closed")));
        probe = setInterval(() => client.query("select 1").catch(reject), PROBE);
      });
      client.on("notification", ({ channel, payload }) => this.onNotification(channel, payload ?? ""));
      lost.catch(() => undefined);
      await Promise.race([lost, client.connect()]);
      await Promise.race([lost, client.query(CHANNELS.map((name) => `listen ${name}`).join("; "))]);
      ready();
      this.onReady();
      await lost;
    } finally {
      clearInterval(probe);
      client.end().catch(() => undefined);
    }
  }
}
