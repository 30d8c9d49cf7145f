/** Logs are events with fields. A payload is never among them. */

export type Level = "debug" | "info" | "warning" | "error";
export type Fields = Readonly<Record<string, unknown>>;
/** Writes one event. */
export type LogSink = (level: Level, event: string, fields: Fields) => void;

const ORDER: Record<Level, number> = { debug: 0, info: 1, warning: 2, error: 3 };

/** A sink that writes JSON, one event a line, to stderr. */
export function jsonLines(lowest: Level = "info"): LogSink {
  return (level, event, fields) => {
    if (ORDER[level] >= ORDER[lowest]) {
      process.stderr.write(`${JSON.stringify({ event, level, timestamp: new Date().toISOString(), ...fields })}\n`);
    }
  };
}

/** Logs with fields that are the same for every event. */
export class Logger {
  constructor(
    private readonly sink: LogSink,
    private readonly fields: Fields = {},
  ) {}

  with(fields: Fields): Logger {
    return new Logger(this.sink, { ...this.fields, ...fields });
  }
  readonly debug = this.at("debug");
  readonly info = this.at("info");
  readonly warning = this.at("warning");
  readonly error = this.at("error");

  private at(level: Level): (event: string, fields?: Fields) => void {
    return (event, fields = {}) => this.sink(level, event, { ...this.fields, ...fields });
  }
}
