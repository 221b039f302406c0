/** The server's interface, as far as the page uses it. */

import { asRequestError, cutStream, errorOfEvent, errorOfResponse } from "./model/failures.js";
import { readEvents } from "./model/events.js";
import { serverKey } from "./preferences.js";

/** Return the names of the models. */
export async function listModels() {
  const { data } = await (await ask("/v1/models")).json();
  return data.map((model) => model.id);
}

/** Return what a request's messages take: {count, max_model_len}. */
export async function countTokens(body, signal) {
  return (await ask("/tokenize", { body, signal })).json();
}

/** Yield the chunks of an answer; a RequestError says what went wrong, an AbortError that `signal` ended it. */
export async function* streamAnswer(body, signal) {
  const response = await ask("/v1/chat/completions", { body: { ...body, stream: true }, signal });
  let isWhole = false;
  try {
    for await (const data of readEvents(response.body)) {
      if (data === "[DONE]") {
        isWhole = true;
        break;
      }
      const chunk = JSON.parse(data);
      if (chunk.error) throw errorOfEvent(chunk.error);
      yield chunk;
    }
  } catch (error) {
    if (signal.aborted) throw error;
    throw asRequestError(error, { hasBegun: true });
  }
  if (!isWhole) throw cutStream();
}

async function ask(path, { body, signal } = {}) {
  const headers = serverKey.value ? { Authorization: `Bearer ${serverKey.value}` } : {};
  const init = body && { method: "POST", body: JSON.stringify(body) };
  let response;
  try {
    if (body) headers["Content-Type"] = "application/json";
    response = await fetch(path, { ...init, headers, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw asRequestError(error, { hasBegun: false });
  }
  if (!response.ok)
    throw errorOfResponse(response.status, await response.json().catch(() => null), response.headers);
  return response;
}
