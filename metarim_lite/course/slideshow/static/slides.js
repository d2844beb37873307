/* Starts the slides, and makes what is higher or wider than a slide smaller until it fits. */
"use strict";
const WIDTH = 1200, HEIGHT = 730, SMALLEST = 0.3;

function fit(section) {
  if (!section || section.querySelector(":scope > section")) return;
  let inner = section.querySelector(":scope > .fitted");
  if (!inner) {
    inner = document.createElement("div");
    inner.className = "fitted";
    inner.append(...section.childNodes);
    section.append(inner);
  }
  const wider = () => [inner, ...inner.querySelectorAll("*")].some(part =>
    part.clientWidth > 0 && part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).display !== "inline");
  let zoom = 1;
  inner.style.zoom = zoom;
  while (zoom > SMALLEST && (section.scrollHeight > HEIGHT || wider())) {
    zoom -= 0.04;
    inner.style.zoom = zoom;
  }
  section.dataset.zoom = zoom.toFixed(2);
}

const deck = new Reveal({
  width: WIDTH, height: HEIGHT, margin: 0.05, center: false, hash: true, transition: "none", slideNumber: "c/t",
  plugins: [RevealNotes],
});
deck.on("ready", () => fit(deck.getCurrentSlide()));
deck.on("slidechanged", () => fit(deck.getCurrentSlide()));
deck.on("fragmentshown", () => fit(deck.getCurrentSlide()));
document.addEventListener("toggle", () => fit(deck.getCurrentSlide()), true);
window.deck = deck;
deck.initialize();
