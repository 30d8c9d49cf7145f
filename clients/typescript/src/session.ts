/** One connection that is opened when it is needed and thrown away after an error. */

import pg from "pg";
import { messageOf } from "./json.js";
import { Refused, Unavailable } from "./errors.js";

/** As `pg.Client` takes it: a connection string, or its parts. */
export type ConnectionOptions = string | pg.ClientConfig;

/** A statement. One with a name is prepared once for a connection. */
export interface Statement {
  readonly name: string;
  readonly text: string;
}

/** SQLSTATEs of a server that cannot do it now: connections, resources, shutdown, I/O, read-only, locks, deadlocks. */
const TRANSIENT = /^(?:08|53|57|58|40|25006|55P03)/;

/** The configuration of one connection. */
export function configOf(connection: ConnectionOptions, name: string, timeout: number): pg.ClientConfig {
  const given = typeof connection === "string" ? { connectionString: connection } : connection;
  return {
    connectionTimeoutMillis: Math.min(timeout, 10_000),
    keepAlive: true,
    ...given,
    application_name: `pgsched ${name}`,
    statement_timeout: timeout,
    query_timeout: timeout + 1_000,
  };
}

/** `Unavailable` or `Refused`, by whether it makes sense to try again. */
export function mapError(error: unknown): Error {
  const code = error instanceof pg.DatabaseError ? (error.code ?? "") : "";
  if (code === "" || TRANSIENT.test(code)) {
    return new Unavailable(messageOf(error), { cause: error });
  }
  return new Refused(messageOf(error), { cause: error });
}

export class Session {
  private client: Promise<pg.Client> | undefined;

  constructor(
    private readonly connection: ConnectionOptions,
    private readonly name: string,
    private readonly timeout: number,
    private readonly prepares: boolean,
  ) {}

  /** Run a statement. Rejects with `Unavailable` or `Refused`. */
  async query<Row extends pg.QueryResultRow>(statement: Statement, values: unknown[]): Promise<Row[]> {
    const opening = (this.client ??= this.open());
    try {
      const client = await opening;
      const named = this.prepares ? statement : { text: statement.text };
      return (await client.query<Row>({ ...named, values })).rows;
    } catch (error) {
      const mapped = mapError(error);
      if (mapped instanceof Unavailable) {
        this.drop(opening);
      }
      throw mapped;
    }
  }

  async close(): Promise<void> {
    const opening = this.client;
    this.client = undefined;
    await opening?.then((client) => client.end()).catch(() => undefined);
  }

  private async open(): Promise<pg.Client> {
    const client = new pg.Client(configOf(this.connection, this.name, this.timeout));
    // Without a listener an idle connection that is lost would end the process. The next statement opens another.
    client.on("error", () => this.drop(opening));
    const opening = client.connect().then(() => client);
    this.client = opening;
    return opening;
  }

  private drop(opening: Promise<pg.Client>): void {
    if (this.client === opening) {
      this.client = undefined;
    }
    opening.then((client) => client.end()).catch(() => undefined);
  }
}
