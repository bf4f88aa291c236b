// The keys that work without Ctrl wherever nothing is being typed. They can be switched off, because they disturb
// people who speak to their computer.

const TYPING = "input:not([type=radio], [type=checkbox]), textarea, select, dialog, [contenteditable]";
const PRESSING = "button, a, summary, input";

/** Lets the keys act on a deck while its sound is shown. */
export function onShortcut(deck, sound) {
  const actions = {
    " ": () => deck.toggle(),
    k: () => deck.toggle(),
    j: () => deck.seek(deck.position - 5),
    ";": () => deck.seek(deck.position + 5),
    l: () => deck.setLoop(!deck.loop),
    s: () => sound.toggleSpectrum(),
    i: () => mark(deck, "start"),
    o: () => mark(deck, "end"),
  };
  document.addEventListener("keydown", (event) => {
    const isHeld = event.ctrlKey || event.altKey || event.metaKey;
    if (isHeld || event.defaultPrevented || sound.hidden || event.target.closest(TYPING)) return;
    if (document.documentElement.dataset.shortcuts === "off") return;
    if (event.key === " " && event.target.closest(PRESSING)) return;
    const take = Number(event.key) - 1;
    const action = actions[event.key.toLowerCase()] ?? (deck.takes[take] && (() => deck.choose(take)));
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** Sets one edge of the selection to the position. */
function mark(deck, edge) {
  const { region, position, seconds } = deck;
  deck.select({ start: region?.start ?? 0, end: region?.end ?? seconds, [edge]: position });
}
