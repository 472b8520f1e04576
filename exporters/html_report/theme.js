"use strict";

// The reader's colours: those of the system, or what the button chooses.
(() => {
  const root = document.documentElement;
  const themes = ["automatic", "light", "dark"];
  let chosen = 0;
  root.classList.add("scripted");
  const button = document.getElementById("theme");
  button.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    if (chosen === 0) delete root.dataset.theme;
    else root.dataset.theme = themes[chosen];
    button.textContent = `Theme: ${themes[chosen]}`;
  });
})();
