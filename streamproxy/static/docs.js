"use strict";

// Requests go to where this page comes from, whatever prefix a reverse proxy gave it: what the description says of that
// is only what the program knows.
const here = new URL(".", location.href);
const page = document.querySelector("rapi-doc");
page.setAttribute("server-url", here.href.replace(/\/$/, ""));
page.setAttribute("default-api-server", here.href.replace(/\/$/, ""));
page.setAttribute("spec-url", new URL("openapi.json", here).href);
