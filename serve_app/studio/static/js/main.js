// The page: asks the server what it can do, puts the three panes together, and shows what the address names.

import { ApiError, keyDoor, pause } from "./api.js";
import "./create.js";
import { askForKey, askPurpose, showKey, showShortcuts } from "./dialogs.js";
import { el, icon, newId, setText } from "./dom.js";
import { titleOf } from "./format.js";
import { LANGUAGE_NAMES, changeLanguage, language, t } from "./i18n.js";
import { apiKey } from "./key.js";
import "./library.js";
import "./open-jobs.js";
import "./player.js";
import { messages, say } from "./say.js";
import { meetServer } from "./server.js";
import { readSetting, writeSetting } from "./settings.js";
import { songs } from "./songs.js";
import { jobs } from "./watch.js";

const THEMES = ["system", "light", "dark"];
const AUDIO_FILE = /\.(wav|w64|mp3|flac|ogg|opus|m4a|aac|aiff?|au|caf|mp4|mov|mka|webm|ac3|wma)$/i;
const root = document.documentElement;

async function start() {
  root.lang = language;
  root.dataset.shortcuts = readSetting("shortcuts") ?? "on";
  const waiting = el("p", { class: "waiting", role: "status" }, t("start.waiting"));
  const keys = el(
    "p",
    { class: "waiting-keys", hidden: true },
    el("button", { type: "button", class: "secondary", click: changeKey }, t("start.key")),
  );
  document.body.replaceChildren(
    el("main", {}, el("h1", { class: "visually-hidden" }, t("app.name")), waiting, keys),
  );
  await meetPatiently(waiting, keys);
  const page = makePage();
  document.body.replaceChildren(page.header, page.banner, page.main, messages);
  // The parts are made one after the other, so that the page can be drawn and answer in between.
  for (const fill of page.fills) {
    fill();
    await pause(0);
  }
  showConnection(page.banner);
  followAddress(page);
  acceptDrops(page.create);
  listen(page);
  page.library.load();
  jobs.run();
  root.dataset.ready = "true";
}

/** Lets the user give another key while the server does not answer. The next attempt uses it. */
async function changeKey() {
  await askForKey(false, { closable: true });
}

/** Meets the server, which may be starting or want a key, and does not give up. */
async function meetPatiently(waiting, keys) {
  for (;;) {
    try {
      await meetServer();
      return;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 401) {
        await askForKey(apiKey() !== "");
        continue;
      }
      setText(waiting, t("start.trying", { problem: error.message }));
      keys.hidden = false;
      await pause(2000);
    }
  }
}

function makePage() {
  const create = el("studio-create");
  const player = el("studio-player");
  const openJobs = el("studio-open-jobs");
  const library = el("studio-library");
  const songsTitle = el("h2", { class: "pane-title", tabindex: "-1" }, t("songs.title"));
  const fills = [];
  const pane = (name, ...children) => {
    const inner = el("div", { class: "pane-inner" });
    fills.push(...children.map((child) => () => inner.append(child)));
    return el("section", { class: `pane pane-${name}`, "aria-label": t(`view.${name}`) }, inner);
  };
  const main = el(
    "main",
    { class: "panes" },
    pane("create", create),
    pane("song", player),
    pane("songs", songsTitle, openJobs, library),
  );
  return {
    fills,
    create,
    player,
    library,
    songsTitle,
    main,
    header: makeHeader(),
    banner: el("p", { class: "banner", role: "status" }),
  };
}

function makeHeader() {
  const link = (view, href) => el("a", { href, "data-view": view }, t(`view.${view}`));
  const views = el(
    "nav",
    { "aria-label": t("view.all"), class: "views" },
    link("create", "#/create"),
    link("song", "#/song"),
    link("songs", "#/songs"),
  );
  const choice = (label, options, value, change) => {
    const id = newId("choice");
    const select = el(
      "select",
      { id, change: () => change(select.value) },
      Object.entries(options).map(([code, text]) => el("option", { value: code }, text)),
    );
    select.value = value;
    return [el("label", { for: id, class: "visually-hidden" }, label), select];
  };
  const themes = Object.fromEntries(THEMES.map((theme) => [theme, t(`theme.${theme}`)]));
  const keyButton =
    apiKey() && el("button", { type: "button", class: "quiet", click: forgetKey }, t("key.title"));
  return el(
    "header",
    { class: "top" },
    el("h1", { class: "brand" }, t("app.name")),
    views,
    el(
      "div",
      { class: "tools" },
      choice(t("theme.label"), themes, readSetting("theme") ?? "system", changeTheme),
      choice(t("language.label"), LANGUAGE_NAMES, language, changeLanguage),
      el(
        "button",
        {
          type: "button",
          class: "quiet keyboard-button",
          "aria-label": t("keys.button"),
          click: showShortcuts,
        },
        icon("keyboard"),
        el("span", {}, t("keys.button")),
      ),
      keyButton || null,
    ),
  );
}

function changeTheme(theme) {
  writeSetting("theme", theme === "system" ? null : theme);
  if (theme === "system") delete root.dataset.theme;
  else root.dataset.theme = theme;
  dispatchEvent(new Event("themechange"));
}

async function forgetKey() {
  if (!(await showKey())) return;
  writeSetting("draft", null, "sessionStorage");
  location.reload();
}

/** Says when the connection is lost and when it is back. */
function showConnection(banner) {
  jobs.addEventListener("connection", () => {
    setText(banner, jobs.connected ? "" : t("connection.lost"));
    if (jobs.connected) say(t("connection.back"));
  });
}

/** Shows the pane and the song that the address names: #/create, #/songs, #/song/JOB/ITEM. */
function followAddress({ create, player, library, songsTitle, main }) {
  const show = (isByUser) => {
    const [, view = "", name = "", item] = location.hash.split("/");
    const jobId = /^[\w-]+$/.test(name) ? name : null;
    const known = ["create", "song", "songs"].includes(view) ? view : "create";
    if (known !== "song") main.dataset.side = known;
    main.dataset.view = known;
    for (const link of document.querySelectorAll(".views a")) {
      if (link.dataset.view === known) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (known === "song" && jobId) {
      player.open(jobId, Number(item) || 0);
      library.mark(jobId);
      document.querySelector('.views a[data-view="song"]').href = location.hash;
    }
    const headings = {
      create: create.querySelector("h2"),
      songs: songsTitle,
      song: player.querySelector("h2:not([hidden])"),
    };
    if (isByUser) headings[known]?.focus();
  };
  addEventListener("hashchange", () => show(true));
  show(false);
}

/** What the parts of the page tell one another. */
function listen({ create, player, library }) {
  addEventListener("submitted", ({ detail: jobId }) => {
    if (player.playing) say(t("create.queued"));
    else location.hash = `#/song/${jobId}`;
  });
  addEventListener("edit", ({ detail: { request, origin, files } }) => {
    location.hash = "#/create";
    create.edit(request, origin, files);
  });
  jobs.addEventListener("change", () => {
    const { length } = jobs.open;
    document.title = length ? `(${length}) ${t("app.name")}` : t("app.name");
  });
  jobs.addEventListener("ended", ({ detail: job }) => {
    if (songs.get(job.job_id)) songs.finish(job);
    const text = t(`ended.${job.status}`, { title: titleOf(job, songs.get(job.job_id)) });
    // Whoever sees the song itself needs no message; a narrow window may show another pane.
    const isSeen = player.getClientRects().length > 0;
    if (job.job_id === player.jobId && isSeen) player.tell(text);
    else say(text);
  });
  keyDoor.addEventListener("refused", async () => {
    await askForKey(apiKey() !== "");
    location.reload();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () =>
    dispatchEvent(new Event("themechange")),
  );
  addEventListener("focus", () => library.load());
}

/** Takes recordings that are dropped anywhere on the page. */
function acceptDrops(create) {
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    root.dataset.dropping = "true";
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) delete root.dataset.dropping;
  });
  addEventListener("drop", async (event) => {
    delete root.dataset.dropping;
    if (!hasFiles(event)) return;
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (!file) return;
    if (!file.type.startsWith("audio/") && !file.type.startsWith("video/") && !AUDIO_FILE.test(file.name)) {
      say(t("drop.noAudio"));
      return;
    }
    const purpose = await askPurpose(file);
    if (!purpose) return;
    location.hash = "#/create";
    create.takeRecording(purpose, file);
  });
}

start();
