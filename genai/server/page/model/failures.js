/** What can go wrong with a request, in plain words. */

/** A request failed: `kind` is one of the keys of TITLES, `retryAfter` the seconds that the server wants to be left alone. */
export class RequestError extends Error {
  constructor(kind, message, { retryAfter = null } = {}) {
    super(message);
    this.kind = kind;
    this.retryAfter = retryAfter;
  }
}

const TITLES = {
  unreachable: "The server does not answer",
  cut: "The connection was lost",
  key: "A key is needed",
  busy: "The server is busy",
  "too-long": "This conversation is too long for the model",
  ending: "The server is shutting down",
  refused: "The server cannot do this",
  failed: "The server failed",
};
export const FAILURE_KINDS = Object.keys(TITLES);

const UNREACHABLE = "It may have been stopped, or the network is down. What you wrote is kept.";
const CUT = "The answer is incomplete. You can go on with it, or ask again.";

/** Return the error that a response stands for. */
export function errorOfResponse(status, body, headers) {
  const error = body?.error ?? {};
  const message = typeof error.message === "string" ? error.message : `The server answered with status ${status}.`;
  return new RequestError(kindOf(status, error.code), message, {
    retryAfter: secondsOf(headers.get("retry-after")),
  });
}

/** Return the error that an event within a stream stands for. */
export function errorOfEvent(error) {
  const status = error.type === "invalid_request_error" ? 400 : 500;
  return new RequestError(kindOf(status, error.code), String(error.message ?? ""));
}

/** Return what a caught error is; one that is no RequestError comes from the network. */
export function asRequestError(error, { hasBegun }) {
  if (error instanceof RequestError) return error;
  return hasBegun ? new RequestError("cut", CUT) : new RequestError("unreachable", UNREACHABLE);
}

/** Return the error of a stream that ended without its end. */
export const cutStream = () => new RequestError("cut", CUT);

/** Return a failure as a message keeps it. */
export function failureOf(error) {
  return {
    kind: error.kind,
    text: error.message,
    ...(error.retryAfter === null ? {} : { retryAfter: error.retryAfter }),
  };
}

export function titleOfFailure(failure) {
  return TITLES[failure.kind] ?? TITLES.failed;
}

function kindOf(status, code) {
  if (code === "context_length_exceeded") return "too-long";
  if (status === 401) return "key";
  if (status === 429) return "busy";
  if (status === 503) return "ending";
  return status < 500 ? "refused" : "failed";
}

function secondsOf(header) {
  const seconds = header === null ? NaN : Number(header);
  return Number.isFinite(seconds) && seconds >= 0 ? Math.min(seconds, 3600) : null;
}
