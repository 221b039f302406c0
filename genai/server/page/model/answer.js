/** An answer while it comes: what each chunk of a stream adds to the message, its tokens and its figures. */

const SHORTEST = 0.005; // seconds from the first piece to the last; less says nothing about speed

/** Takes chunks into a message and a list of tokens, both of which may have a beginning already. */
export class AnswerReader {
  #sent;
  #first = null;
  #last = null;
  #call = null; // that is coming

  constructor(message, tokens, now) {
    this.message = message;
    this.tokens = tokens;
    this.#sent = now;
  }

  take(chunk, now) {
    const choice = chunk.choices?.[0];
    if (choice) {
      this.#takeDelta(choice.delta ?? {}, now);
      for (const entry of choice.logprobs?.content ?? []) this.tokens.push(tokenOf(entry));
      if (choice.finish_reason) {
        this.#endCall();
        this.message.finish = choice.finish_reason;
      }
    }
    if (chunk.usage) this.#takeUsage(chunk.usage);
  }

  #takeDelta(delta, now) {
    const { message } = this;
    if (delta.reasoning) message.reasoning = (message.reasoning ?? "") + delta.reasoning;
    if (delta.content) message.content += delta.content;
    for (const piece of delta.tool_calls ?? []) this.#takeCall(piece);
    if (delta.reasoning || delta.content || delta.tool_calls) {
      this.#first ??= now;
      this.#last = now;
    }
  }

  /** Take a piece of a call; the first of each has its id. */
  #takeCall(piece) {
    if (piece.id) {
      this.#endCall();
      this.#call = { id: piece.id, name: piece.function?.name ?? "", arguments: "" };
    }
    if (this.#call) this.#call.arguments += piece.function?.arguments ?? "";
  }

  /** Keep the call that has come, unless the answer ended within it: nothing could carry it out or send it back. */
  #endCall() {
    if (this.#call && isJson(this.#call.arguments)) (this.message.toolCalls ??= []).push(this.#call);
    this.#call = null;
  }

  #takeUsage(usage) {
    const stats = {
      promptTokens: usage.prompt_tokens,
      completionTokens: usage.completion_tokens,
      cachedTokens: usage.prompt_tokens_details?.cached_tokens ?? 0,
    };
    if (this.#first !== null) {
      stats.firstTokenSeconds = (this.#first - this.#sent) / 1000;
      const seconds = (this.#last - this.#first) / 1000;
      if (seconds > SHORTEST && usage.completion_tokens > 1)
        stats.tokensPerSecond = (usage.completion_tokens - 1) / seconds;
    }
    this.message.stats = stats;
  }
}

function isJson(text) {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

/** Return a token as it is kept: {text, logprob, top: [[text, logprob], …]}. */
function tokenOf(entry) {
  return {
    text: entry.token,
    logprob: entry.logprob,
    top: (entry.top_logprobs ?? []).map((other) => [other.token, other.logprob]),
  };
}

const PART_OF_CHARACTER = "\uFFFD";
const SPECIAL_TOKEN = /^<[^\s<>]+>$|^\[[A-Z_/]+\]$/;

/**
 * Return how an answer would begin that takes another token at some place: {content, tokens}.
 *
 * `null` where that cannot be said as a text: inside reasoning, in the middle of a character, or where the other token is a
 * mark, such as the answer's end.
 */
export function beginningWith(message, tokens, index, [text, logprob]) {
  const before = tokens.slice(0, index);
  const content = before.map((token) => token.text).join("") + text;
  const isText = !content.includes(PART_OF_CHARACTER) && !SPECIAL_TOKEN.test(text) && content.trim() !== "";
  if (message.reasoning || !isText || !message.content.startsWith(content.slice(0, content.length - text.length)))
    return null;
  return { content, tokens: [...before, { text, logprob, top: tokens[index].top }] };
}

/** Return the perplexity of an answer: how many tokens the model hesitated between, on average. */
export function perplexity(tokens) {
  return Math.exp(-tokens.reduce((sum, token) => sum + token.logprob, 0) / tokens.length);
}
