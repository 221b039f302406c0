/** The conversation that is open: its messages, in order, and where the reader is in it. */

import { shownPath } from "../model/conversation.js";
import { MessageView } from "./message.js";

const NEAR_END = 80; // pixels

export class ConversationView {
  #scroller;
  #list;
  #jump;
  #actions;
  #views = new Map();
  #withTokens = new Set();
  #conversationId = null;
  #isFollowing = true;
  #isDue = false;
  #isAllChanged = true;
  #changed = new Set();
  #state = null;

  /** `actions`: what messages can ask for. */
  constructor({ scroller, list, jump, actions }) {
    this.#scroller = scroller;
    this.#list = list;
    this.#jump = jump;
    this.#actions = actions;
    scroller.addEventListener("scroll", () => this.#look(), { passive: true });
    jump.addEventListener("click", () => this.followEnd());
  }

  /**
   * Show a conversation, or `null` for none yet, in the next frame. `state`: {conversation, tokensOf, isRunning}. Where only
   * one message has changed, naming it leaves the others alone.
   */
  show(state, changed = null) {
    this.#state = state;
    if (changed) this.#changed.add(changed.id);
    else this.#isAllChanged = true;
    if (this.#isDue) return;
    this.#isDue = true;
    if (document.hidden)
      setTimeout(() => this.#draw()); // there are no frames then
    else requestAnimationFrame(() => this.#draw());
  }

  /** Show a message that is not drawn yet as its tokens. */
  beginWithTokens(message) {
    this.#withTokens.add(message.id);
  }

  followEnd() {
    this.#isFollowing = true;
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
    this.#look();
  }

  /** Let the last question that is shown be edited; return whether there is one. */
  editLast() {
    const question =
      this.#state?.conversation &&
      shownPath(this.#state.conversation).findLast((message) => message.role === "user");
    if (question) this.#views.get(question.id)?.beginEdit();
    return Boolean(question);
  }

  #draw() {
    const { conversation, tokensOf, isRunning } = this.#state;
    const isOther = conversation?.id !== this.#conversationId;
    if (isOther) {
      this.#views.clear();
      this.#isFollowing = true;
      this.#conversationId = conversation?.id ?? null;
    }
    const views = (conversation ? shownPath(conversation) : []).map((message) => this.#viewOf(message));
    for (const [index, view] of views.entries()) {
      if (!isOther && !this.#isAllChanged && !this.#changed.has(view.message.id)) continue;
      view.update({
        conversation,
        tokens: tokensOf.get(view.message.id),
        isRunning,
        isLast: index === views.length - 1,
      });
    }
    this.#isDue = this.#isAllChanged = false;
    this.#changed.clear();
    this.#place(views.map((view) => view.element));
    if (this.#isFollowing) this.followEnd();
    else this.#look();
  }

  /** Put elements into the list without moving those that stand where they should, which would lose focus and selection. */
  #place(elements) {
    elements.forEach((each, index) => {
      const present = this.#list.children[index];
      if (present !== each) this.#list.insertBefore(each, present ?? null);
    });
    while (this.#list.children.length > elements.length) this.#list.lastChild.remove();
  }

  #viewOf(message) {
    const known = this.#views.get(message.id);
    if (known?.message === message) return known;
    const view = new MessageView(message, this.#actions, { showsTokens: this.#withTokens.has(message.id) });
    this.#views.set(message.id, view);
    return view;
  }

  #look() {
    const left = this.#scroller.scrollHeight - this.#scroller.scrollTop - this.#scroller.clientHeight;
    this.#isFollowing = left < NEAR_END;
    this.#jump.hidden = this.#isFollowing;
  }
}
