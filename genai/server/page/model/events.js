/** Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html), as far as streams of answers use them. */

/** Takes a stream's text in pieces, cut anywhere, and gives the data of the events that are whole. */
export class EventParser {
  #pending = "";

  push(text) {
    this.#pending += text;
    const events = this.#pending.split(/\r\n\r\n|\n\n|\r\r/);
    this.#pending = events.pop();
    return events.map(dataOf).filter((data) => data !== null);
  }
}

function dataOf(event) {
  const lines = event.split(/\r\n|\n|\r/).filter((line) => line.startsWith("data:"));
  return lines.length ? lines.map((line) => line.slice(5).replace(/^ /, "")).join("\n") : null;
}

/** Yield the data of each event of a stream of bytes. */
export async function* readEvents(stream) {
  const parser = new EventParser();
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => {}); // the stream may have failed already
  }
}
