/** Results and errors as PostgreSQL can store them. */

const MAX_ERROR_CHARACTERS = 16_384;
/** What jsonb refuses: NUL, and halves of a surrogate pair. */
const UNSTORABLE = /\0|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const ESCAPED = /\\u(?:0000|d[89a-f][0-9a-f]{2})/i;

/** Text with a replacement character in the place of what PostgreSQL cannot store. */
export function storable(text: string, most = Number.POSITIVE_INFINITY): string {
  return (text.length > most ? text.slice(0, most) : text).replace(UNSTORABLE, "\ufffd");
}

export interface Encoded {
  readonly text: string;
  /** How what is stored is not what the handler returned. */
  readonly warning?: string;
}

/** The JSON text of a result. What JSON cannot hold is stored as text: the work is done, and not done again. */
export function encode(value: unknown): Encoded {
  try {
    const text = JSON.stringify(value) ?? "null";
    return { text: ESCAPED.test(text) ? JSON.stringify(value, clean) : text };
  } catch (error) {
    const text = JSON.stringify(storable(String(value), 8192));
    return { text, warning: `the result cannot be encoded and is stored as text: ${messageOf(error)}` };
  }
}

function clean(_key: string, value: unknown): unknown {
  if (typeof value === "string") {
    return storable(value);
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value)) {
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [storable(key), one]));
  }
  return value;
}

/** The error in one line, and its stack. */
export function describe(error: unknown): string {
  if (!(error instanceof Error)) {
    return storable(`Error: ${String(error)}`, MAX_ERROR_CHARACTERS);
  }
  const first = error.message === "" ? error.name : `${error.name}: ${error.message}`;
  return storable(error.stack === undefined ? first : `${first}\n\n${error.stack}`, MAX_ERROR_CHARACTERS);
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
