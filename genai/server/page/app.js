/** The page: which conversation is open, and what each control does to it. */

import { Answering } from "./answering.js";
import { countTokens, listModels } from "./api.js";
import { Conversations } from "./conversations.js";
import {
  addMessage,
  choose,
  newConversation,
  removeMessage,
  requestMessages,
  shownPath,
  titleOf,
} from "./model/conversation.js";
import { titleOfFailure } from "./model/failures.js";
import { startersFor } from "./model/starters.js";
import { fileNameOf, markdownOf } from "./model/transfer.js";
import { preferences } from "./preferences.js";
import { openStore } from "./store.js";
import { showModels, showSettingsLabel } from "./view/bar.js";
import { Composer } from "./view/composer.js";
import { ConversationView } from "./view/conversation_view.js";
import { icon } from "./view/dom.js";
import { showExamples } from "./view/examples.js";
import { setUpDrawer, setUpMenus, setUpShortcuts, setUpTheme } from "./view/frame.js";
import { chooseFile, saveFile } from "./view/files.js";
import { KeyDialog } from "./view/key_dialog.js";
import { showMeter } from "./view/meter.js";
import { announce, showNote } from "./view/notes.js";
import { SettingsDialog } from "./view/settings_dialog.js";
import { Sidebar } from "./view/sidebar.js";

const NOBODY = new Map();

const find = (id) => document.getElementById(id);

class App {
  #models = [];
  #starters = null;
  #current = null;
  #pendingSettings = {}; // of the conversation that begins with the next message
  #tokensOf = NOBODY;

  async start() {
    for (const place of document.querySelectorAll("[data-icon]")) place.prepend(icon(place.dataset.icon));
    this.#makeViews();
    this.#bindControls();
    await this.#openConversations();
    await Promise.all([this.#loadModels(), this.#openFromAddress()]);
    window.addEventListener("hashchange", () => this.#openFromAddress());
    this.composer.focus();
  }

  #makeViews() {
    const actions = {
      edit: (message, text) => this.#ask(text, message.parent),
      repeat: (message) => this.#repeat(message),
      goOn: (message) => this.answering.goOn(this.#current, message, this.#tokensOf.get(message.id) ?? []),
      choose: (message) => this.#choose(message),
      takeToken: (message, content, tokens) => this.#takeToken(message, { content, tokens }),
      giveResults: (message, results) => this.#giveResults(message, results),
      enterKey: () => this.keyDialog.open(),
    };
    this.view = new ConversationView({
      scroller: find("scroller"),
      list: find("messages"),
      jump: find("jump"),
      actions,
    });
    this.composer = new Composer({
      form: find("composer"),
      field: find("draft"),
      button: find("send"),
      actions: {
        send: (text) => this.#ask(text),
        stop: () => this.#stop(),
        editLast: () => this.view.editLast(),
        count: (text, signal) => this.#count(text, signal),
      },
    });
    this.sidebar = new Sidebar({
      list: find("conversations"),
      search: find("search"),
      actions: {
        open: (id) => this.#open(id),
        rename: (conversation, title) => this.#rename(conversation, title),
        remove: (conversation) => this.#remove(conversation),
      },
    });
    this.settingsDialog = new SettingsDialog({
      dialog: find("settings-dialog"),
      onChange: (settings) => this.#set(settings),
    });
    this.keyDialog = new KeyDialog({
      dialog: find("key-dialog"),
      tryKey: () => listModels(),
      onEntered: (models) => this.#keyEntered(models),
    });
    this.answering = new Answering({
      keep: (conversation, tokens) => this.#keep(conversation, tokens),
      onChange: (conversation, message, change) => this.#answerChanged(conversation, message, change),
    });
  }

  #bindControls() {
    const clicks = {
      "new-conversation": () => this.#openNew(),
      "open-settings": () => this.settingsDialog.open(this.#settings),
      "open-help": () => find("help-dialog").showModal(),
      "save-markdown": () =>
        this.#current && saveFile(`${fileNameOf(this.#current)}.md`, "text/markdown", markdownOf(this.#current)),
      "save-json": () => this.#current && this.#export([this.#current], fileNameOf(this.#current)),
      "export-all": () => this.#export(this.conversations.all, "conversations"),
      import: () => this.#import(),
    };
    for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", act);
    find("model").addEventListener("change", (event) => this.#chooseModel(event.target.value));
    const probabilities = find("probabilities");
    probabilities.checked = preferences.asksForProbabilities;
    probabilities.addEventListener("change", () => (preferences.asksForProbabilities = probabilities.checked));
    this.drawer = setUpDrawer();
    setUpMenus();
    setUpTheme();
    setUpShortcuts({
      search: () => this.drawer.open(find("search")),
      newConversation: () => this.#openNew(),
      help: () => find("help-dialog").showModal(),
      stop: () => this.#stop(),
    });
  }

  async #openConversations() {
    const store = await openStore();
    const onUnsaved = () => showNote("This browser could not store the conversation: it may be out of room.");
    this.conversations = new Conversations(store, { onChange: (id) => this.#changedElsewhere(id), onUnsaved });
    await this.conversations.load();
    if (!store.isKept) showNote("This browser stores nothing: conversations last until the page is closed.");
  }

  async #loadModels() {
    try {
      this.#setModels(await listModels());
    } catch (error) {
      if (error.kind === "key") this.keyDialog.open();
      else showNote(`${titleOfFailure(error)}.`, { label: "Try again", act: () => this.#loadModels() });
    }
  }

  #setModels(models) {
    this.#models = models;
    this.#show();
    this.composer.countSoon();
  }

  /** The model that the next answer is by. */
  get #model() {
    const wanted = this.#current?.model ?? preferences.model;
    return this.#models.includes(wanted) ? wanted : (this.#models[0] ?? wanted ?? null);
  }

  get #settings() {
    return this.#current?.settings ?? this.#pendingSettings;
  }

  get #isRunning() {
    return this.#current !== null && this.answering.isRunning(this.#current.id);
  }

  #messageOf(id) {
    return this.#current.messages.find((message) => message.id === id);
  }

  // What is open

  async #openFromAddress() {
    const id = location.hash.slice(1);
    if (id !== (this.#current?.id ?? "")) await this.#open(this.conversations.get(id) ? id : null);
    else if (id === "") await this.#open(null);
  }

  #openNew() {
    this.#open(null);
    this.composer.focus();
  }

  async #open(id) {
    this.#current = id === null ? null : this.conversations.get(id);
    this.#tokensOf = NOBODY;
    if (this.#current) {
      if (!this.#isRunning) await this.conversations.settle(id);
      const tokens = await this.conversations.tokensOf(id);
      if (this.#current?.id !== id) return; // another was opened meanwhile
      this.#tokensOf = tokens;
    }
    history.replaceState(null, "", id === null ? location.pathname : `#${id}`);
    this.drawer.close();
    this.composer.open(id ?? "new");
    this.#show();
  }

  async #changedElsewhere(id) {
    if (this.#current?.id !== id || this.answering.isRunning(id)) return this.#showList();
    if (!this.conversations.get(id)) return this.#open(null);
    this.#current = this.conversations.get(id);
    this.#tokensOf = await this.conversations.tokensOf(id);
    return this.#show();
  }

  #show() {
    const conversation = this.#current;
    this.view.show({ conversation, tokensOf: this.#tokensOf, isRunning: this.#isRunning });
    find("empty").hidden = conversation !== null;
    find("menu-of-conversation").hidden = conversation === null;
    document.title = conversation ? `${titleOf(conversation)} – genai` : "genai";
    this.composer.show({ isRunning: this.#isRunning });
    showModels(this.#models, this.#model);
    this.#showExamples();
    showSettingsLabel(this.#settings);
    this.#showList();
  }

  #showExamples() {
    const starters = startersFor(this.#model);
    if (starters === this.#starters) return; // so that a button keeps the focus
    this.#starters = starters;
    showExamples(find("examples"), starters, (text) => this.composer.set(text));
  }

  #showList() {
    this.sidebar.update({ conversations: this.conversations.all, current: this.#current?.id ?? null });
  }

  // Questions and answers

  /** Ask something, behind what is shown or behind `parent`; return whether it was asked. */
  async #ask(text, parent = undefined) {
    if (this.#isRunning) return false;
    const conversation =
      this.#current ?? newConversation({ now: Date.now(), model: this.#model, settings: this.#pendingSettings });
    const behind = parent === undefined ? (shownPath(conversation).at(-1)?.id ?? null) : parent;
    const question = addMessage(conversation, { now: Date.now(), role: "user", parent: behind, content: text });
    if (!this.#current) await this.#openCreated(conversation);
    this.view.followEnd();
    this.#answer(question);
    return true;
  }

  async #openCreated(conversation) {
    this.#pendingSettings = {};
    this.#current = conversation;
    await this.conversations.put(conversation);
    this.#tokensOf = await this.conversations.tokensOf(conversation.id);
    preferences.keepDraft("new", "");
    await this.#open(conversation.id);
  }

  #answer(question, beginning) {
    if (this.#isRunning) return;
    this.answering.begin(this.#current, question, this.#model, beginning);
  }

  /** Answer once more, with a beginning that has another token. */
  #takeToken(message, beginning) {
    if (this.#isRunning) return;
    this.#answer(this.#messageOf(message.parent), beginning);
    this.view.beginWithTokens(shownPath(this.#current).at(-1));
  }

  #repeat(message) {
    const question = this.#messageOf(message.parent);
    if (message.failure && !message.content) removeMessage(this.#current, message);
    this.#answer(question);
  }

  #giveResults(message, results) {
    let parent = message.id;
    let last = message;
    for (const [index, content] of results.entries()) {
      const fields = { role: "tool", parent, content, toolCallId: message.toolCalls[index].id };
      last = addMessage(this.#current, { now: Date.now(), ...fields });
      parent = last.id;
    }
    this.#answer(last);
  }

  #answerChanged(conversation, message, { tokens, isBegin = false, isEnd = false }) {
    if (isBegin) announce(`${message.model} is answering`);
    if (isEnd)
      announce(
        message.failure
          ? `${titleOfFailure(message.failure)}. ${message.failure.text}`
          : `Answer ${message.finish === "stopped" ? "stopped" : "complete"}`,
      );
    if (isEnd && message.failure?.kind === "key") this.keyDialog.open();
    if (this.#current?.id !== conversation.id) return this.#showList();
    this.#tokensOf.set(message.id, tokens);
    if (isEnd || isBegin) this.#show();
    else this.view.show({ conversation, tokensOf: this.#tokensOf, isRunning: true }, message);
    if (isEnd) this.composer.countSoon();
    return undefined;
  }

  /** Store what an answer has come to, unless its conversation was deleted meanwhile. */
  #keep(conversation, tokens) {
    if (this.conversations.get(conversation.id)) this.conversations.put(conversation, tokens);
  }

  #choose(message) {
    choose(this.#current, message);
    this.conversations.put(this.#current);
    this.#show();
    this.composer.countSoon();
  }

  #stop() {
    if (this.#current) this.answering.stop(this.#current.id);
  }

  /** Show how much of the model's context the next question would take. */
  async #count(text, signal) {
    const path = this.#current ? shownPath(this.#current) : [];
    const messages = requestMessages(
      text.trim() ? [...path, { role: "user", content: text }] : path,
      this.#settings.system,
    );
    if (!messages.some((message) => message.role === "user") || this.#isRunning) return showMeter(null);
    const { tools } = this.#settings;
    try {
      showMeter(await countTokens({ model: this.#model, messages, ...(tools?.length ? { tools } : {}) }, signal));
    } catch {
      if (!signal.aborted) showMeter(null); // asking will say what is wrong
    }
    return undefined;
  }

  // Settings and keys

  #chooseModel(name) {
    preferences.model = name;
    if (this.#current) {
      this.#current.model = name;
      this.conversations.put(this.#current);
    }
    this.#showExamples();
    this.composer.countSoon();
  }

  #set(settings) {
    if (this.#current) {
      this.#current.settings = settings;
      this.conversations.put(this.#current);
    } else this.#pendingSettings = settings;
    showSettingsLabel(this.#settings);
    this.composer.countSoon();
  }

  #keyEntered(models) {
    this.#setModels(models);
    const last = this.#current && shownPath(this.#current).at(-1);
    if (last?.failure?.kind === "key") this.#repeat(last);
  }

  // The list

  #rename(conversation, title) {
    conversation.title = title;
    this.conversations.put(conversation);
    this.#show();
  }

  async #remove(conversation) {
    this.answering.stop(conversation.id);
    const removed = await this.conversations.remove(conversation);
    if (this.#current?.id === conversation.id) await this.#open(null);
    else this.#showList();
    const restore = async () => {
      await this.conversations.restore(removed);
      await this.#open(conversation.id);
    };
    showNote(`Deleted “${titleOf(conversation)}”`, { label: "Undo", act: restore });
  }

  async #export(conversations, name) {
    saveFile(`${name}.json`, "application/json", await this.conversations.export(conversations));
  }

  async #import() {
    const text = await chooseFile(".json,application/json");
    try {
      const imported = await this.conversations.import(text);
      showNote(imported.length === 1 ? "1 conversation imported" : `${imported.length} conversations imported`);
      if (imported.length) await this.#open(imported[0].id);
    } catch (error) {
      showNote(error.message);
    }
  }
}

new App().start();
