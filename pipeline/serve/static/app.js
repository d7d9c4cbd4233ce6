"use strict";
// All that needs a script: parts that renew themselves, parts that come later, keys. Every page works without it.

const part = async (address) => {
  const answer = await fetch(address, { headers: { accept: "text/html" } });
  if (!answer.ok) throw new Error(answer.status);
  return answer.text();
};

const renew = (element) => {
  const seconds = Number(element.dataset.live);
  setTimeout(async () => {
    let now = element;
    if (!document.hidden) {
      try {
        const page = new DOMParser().parseFromString(await part(location.href), "text/html");
        now = page.getElementById(element.id) || element;
        if (now !== element && !element.contains(document.activeElement)) element.replaceWith(now);
        else now = element;
      } catch {
        // The service is away; the next look may find it.
      }
    }
    renew(now);
  }, seconds * 1000);
};

const count = async (element) => {
  element.textContent = await part(element.dataset.count);
};

const load = async (element) => {
  const page = new DOMParser().parseFromString(await part(element.dataset.load), "text/html");
  element.replaceChildren(...page.body.childNodes);
};

document.querySelectorAll("[data-live]").forEach(renew);
document.querySelectorAll("[data-load]").forEach((element) => load(element).catch(() => {}));
document.querySelectorAll("[data-count]").forEach((element) => count(element).catch(() => {}));

// A filter that is chosen is asked for at once, and what is not filled in does not stand in the address.
const search = document.querySelector("form.search");
if (search) {
  search.addEventListener("change", (event) => event.target.matches("select") && search.requestSubmit());
  search.addEventListener("submit", () => {
    for (const field of search.elements)
      if (field.name && (!field.value || (field.name === "where" && field.value === "all"))) field.disabled = true;
  });
  addEventListener("pageshow", () => [...search.elements].forEach((field) => (field.disabled = false)));
}

let before = "";
document.addEventListener("keydown", (event) => {
  const typing = event.target.matches("input, textarea, select");
  if (event.target.id === "query" && event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.target.form.requestSubmit();
    event.preventDefault();
  }
  if (event.key === "Escape" && typing) event.target.blur();
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const chord = before + event.key;
  before = event.key === "g" ? "g" : "";
  const run = document.querySelector("header nav a")?.pathname;
  const click = (selector) => document.querySelector(selector)?.click();
  const keys = {
    "/": () => document.querySelector("#q, #query")?.focus(),
    n: () => click("a[rel=next]"),
    ArrowRight: () => click("a[rel=next]"),
    p: () => click("a[rel=prev]"),
    ArrowLeft: () => click("a[rel=prev]"),
    b: () => run && history.back(),
    gr: () => run && location.assign(run),
    gp: () => run && location.assign(`${run}/pairs`),
    gs: () => run && location.assign(`${run}/sql`),
  };
  const action = keys[chord] || keys[event.key];
  if (action && !event.target.closest(".scroll, pre")) {
    action();
    event.preventDefault();
  }
});
