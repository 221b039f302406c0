/** Answers that are coming, one for each conversation at most: asked for, read, kept, and ended. */

import { streamAnswer } from "./api.js";
import { AnswerReader } from "./model/answer.js";
import { addMessage, pathTo, requestMessages } from "./model/conversation.js";
import { failureOf } from "./model/failures.js";
import { requestFields } from "./model/settings.js";
import { preferences } from "./preferences.js";

const SAVE_EVERY = 1500; // milliseconds
const TOP_TOKENS = 5;

export class Answering {
  #running = new Map();
  #keep;
  #onChange;

  /**
   * `keep(conversation, tokens)` stores both; `onChange(conversation, message, {tokens, isBegin, isEnd})` is told of each
   * change.
   */
  constructor({ keep, onChange }) {
    this.#keep = keep;
    this.#onChange = onChange;
  }

  isRunning(conversationId) {
    return this.#running.has(conversationId);
  }

  stop(conversationId) {
    this.#running.get(conversationId)?.abort();
  }

  /** Ask for an answer to a message, which may have a beginning: {content, tokens}. */
  begin(conversation, question, model, { content = "", tokens = [] } = {}) {
    const fields = { role: "assistant", parent: question.id, model, content, finish: null };
    const message = addMessage(conversation, { now: Date.now(), ...fields });
    return this.#run(conversation, message, [...tokens]);
  }

  /** Ask for more of an answer that was cut. */
  goOn(conversation, message, tokens) {
    message.finish = null;
    delete message.failure;
    return this.#run(conversation, message, [...tokens]);
  }

  async #run(conversation, message, tokens) {
    const ending = new AbortController();
    this.#running.set(conversation.id, ending);
    const reader = new AnswerReader(message, tokens, performance.now());
    const save = () => this.#keep(conversation, new Map(tokens.length ? [[message.id, tokens]] : []));
    const saving = setInterval(save, SAVE_EVERY);
    try {
      save();
      this.#onChange(conversation, message, { tokens, isBegin: true });
      for await (const chunk of streamAnswer(requestBody(conversation, message), ending.signal)) {
        reader.take(chunk, performance.now());
        this.#onChange(conversation, message, { tokens });
      }
      message.finish ??= "interrupted";
    } catch (error) {
      message.finish = ending.signal.aborted ? "stopped" : "failed";
      if (!ending.signal.aborted) message.failure = failureOf(error);
    } finally {
      clearInterval(saving);
      this.#running.delete(conversation.id);
      conversation.updated = Date.now();
      save();
      this.#onChange(conversation, message, { tokens, isEnd: true });
    }
  }
}

function requestBody(conversation, message) {
  const { settings } = conversation;
  const path = pathTo(conversation, message);
  const isBegun = message.content !== "";
  const probabilities = preferences.asksForProbabilities ? { logprobs: true, top_logprobs: TOP_TOKENS } : {};
  return {
    model: message.model,
    messages: requestMessages(path, settings.system),
    ...requestFields(settings),
    ...probabilities,
    ...(isBegun ? { continue_final_message: true } : {}),
    stream_options: { include_usage: true },
  };
}
