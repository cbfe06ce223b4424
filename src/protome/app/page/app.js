// The page of the app: upload, inspection, options, progress, the head, downloads, and earlier heads.
(() => {
  "use strict";
  const $ = (id) => document.getElementById(id);
  const FAST_MS = 1000, SLOW_MS = 5000;
  const BUSY = ["inspecting", "waiting", "running"];
  const WORDS = {
    inspecting: "Inspecting the photos.", ready: "The photos are inspected. Choose what to make.",
    waiting: "Waiting.", running: "Making the head.", done: "The head is ready.", failed: "This did not work.",
    cancelled: "Cancelled.",
  };
  let about = null, current = null, timer = 0, request = null, most = 0, mostOf = null;
  const drawn = {};

  function element(kind, attributes, ...children) {
    const made = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes || {}))
      if (name in made && name !== "list") made[name] = value; else made.setAttribute(name, value);
    made.append(...children);
    return made;
  }
  // Draws a part anew only when what it shows has changed, so that focus and frames stay.
  function draw(part, value, action) {
    const text = JSON.stringify(value === undefined ? null : value);
    if (drawn[part] === text) return;
    drawn[part] = text;
    action(value);
  }
  function say(id, text) { draw("text-" + id, text, () => { $(id).textContent = text; }); }
  function sentence(answer, status) {
    const detail = answer && answer.detail;
    if (typeof detail === "string") return detail;
    if (Array.isArray(detail) && detail.length) return detail.map((one) => `${one.loc.slice(1).join(" ")}: ${one.msg}`).join("; ");
    return `The app answers with code ${status}.`;
  }
  async function ask(path, options) {
    let answer;
    try { answer = await fetch(path, options); }
    catch (error) { throw new Error("The app does not answer: is it still running?"); }
    const body = answer.status === 204 ? null : await answer.json().catch(() => null);
    if (!answer.ok) throw new Error(sentence(body, answer.status));
    return body;
  }
  function clock(seconds) {
    const whole = Math.max(1, Math.round(seconds));
    return whole < 90 ? `${whole} s` : `${Math.round(whole / 60)} min`;
  }
  function size(bytes) {
    return bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
  }
  function names(job) {
    const all = job.photos.map((one) => one.name);
    return all.length > 4 ? `${all.slice(0, 3).join(", ")} and ${all.length - 3} more` : all.join(", ");
  }

  // Uploads
  function upload(list) {
    const files = [...list];
    if (!files.length || request) return;
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    const strange = about && files.find((file) => !about.suffixes.some((end) => file.name.toLowerCase().endsWith(end)));
    let wrong = "";
    if (strange) wrong = `${strange.name} is no photo and no video: give JPEG, PNG, HEIC, WebP, TIFF, MP4 or MOV files.`;
    else if (about && files.length > about.most_files) wrong = `These are ${files.length} files; up to ${about.most_files} can be given.`;
    else if (about && bytes > about.most_mb * 1e6) wrong = `These files have ${size(bytes)}; up to ${about.most_mb} MB can be given.`;
    $("upload-error").textContent = wrong;
    $("files").value = "";
    if (wrong) return;
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    request = new XMLHttpRequest();
    request.open("POST", "api/jobs");
    request.responseType = "json";
    request.upload.onprogress = (event) => { if (event.lengthComputable) $("upload-bar").value = event.loaded / event.total; };
    const end = (error) => {
      request = null;
      $("upload").hidden = true;
      $("upload-error").textContent = error || "";
    };
    request.onload = () => {
      const { status, response } = request;
      end(status === 201 ? "" : sentence(response, status));
      if (status === 201) { open(response.id); $("job-title").focus(); }
    };
    request.onerror = () => end("The upload did not arrive: is the app still running?");
    request.onabort = () => end("The upload was stopped.");
    $("upload-bar").value = 0;
    $("upload").hidden = false;
    request.send(form);
  }
  $("files").addEventListener("change", (event) => upload(event.target.files));
  $("upload-stop").addEventListener("click", () => { if (request) request.abort(); });
  let depth = 0;
  const over = (change) => { depth = Math.max(0, depth + change); $("drop").classList.toggle("over", depth > 0); };
  addEventListener("dragenter", (event) => { event.preventDefault(); over(1); });
  addEventListener("dragleave", () => over(-1));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); over(-depth); upload(event.dataTransfer.files); });

  // One job
  function open(id) {
    current = id;
    history.replaceState(null, "", id ? "#" + id : location.pathname);
    $("job").hidden = !id;
    refresh();
  }
  function show(job) {
    say("job-photos", names(job));
    say("job-names", job.photos.map((one) => `${one.stored} is ${one.name}`).join("; ") + ".");
    const before = job.jobs_before ? ` ${job.jobs_before} before it.` : "";
    const stage = job.progress ? `${job.progress.stage}.` : WORDS[job.state];
    say("job-state", stage + before);
    // Estimates change; what is shown as done does not become less.
    if (job.progress) job.progress.share = most = Math.max(mostOf === job.id ? most : 0, job.progress.share);
    mostOf = job.progress ? job.id : null;
    document.title = job.progress ? `${Math.round(100 * job.progress.share)} % – Protome` : "Protome";
    $("job").setAttribute("aria-busy", String(BUSY.includes(job.state)));
    $("job-progress").hidden = !BUSY.includes(job.state);
    if (job.progress) $("job-bar").value = job.progress.share; else $("job-bar").removeAttribute("value");
    const left = job.progress ? `${Math.round(100 * job.progress.share)} %, about ${clock(job.progress.seconds_left)} left` : "";
    $("job-left").textContent = left;
    say("job-error", job.error ? job.error.charAt(0).toUpperCase() + job.error.slice(1) + "." : "");
    $("job-cancel").hidden = !BUSY.includes(job.state);
    draw("warnings", job.warnings, () => {
      $("job-remarks").hidden = !job.warnings.length;
      $("job-warnings").replaceChildren(...job.warnings.map((text) => element("li", {}, text)));
    });
    draw("sheet", job.inspection_url, (url) => {
      $("job-sheet").hidden = !url;
      for (const old of $("job-sheet").querySelectorAll("img")) old.remove();
      if (url) $("job-sheet").append(element("img", { src: url, alt: "Each photo with landmarks, outline of the person, and place of the camera" }));
    });
    draw("options", [job.id, job.can_start, about && 1], () => { $("options").hidden = !(job.can_start && about); });
    draw("head", job.report_url, (url) => {
      $("job-head").hidden = !url;
      $("job-head").replaceChildren();
      if (url) $("job-head").append(element("iframe", { src: url + "#head", title: "The head in three dimensions", sandbox: "allow-scripts" }));
    });
    draw("downloads", job.files, () => {
      const links = [];
      if (job.zip_url) links.push(element("a", { href: job.zip_url, className: "main", download: "" }, "Download all as zip"));
      if (job.report_url) links.push(element("a", { href: job.report_url, target: "_blank", rel: "noopener" }, "Open the report"));
      for (const file of job.files)
        if (file.name.startsWith("head")) links.push(element("a", { href: file.url + "?download=true", download: file.name }, `${file.name} (${size(file.size)})`));
      $("job-downloads").replaceChildren(...links);
    });
  }
  $("options").addEventListener("submit", async (event) => {
    event.preventDefault();
    const formats = [...document.querySelectorAll("[name=format]:checked")].map((box) => box.value);
    const options = { preset: document.querySelector("[name=preset]:checked").value, texture: Number($("texture").value), formats };
    if ($("expression").value) options.expression = $("expression").value;
    if ($("pupils").value) options.pupils = Number($("pupils").value);
    try {
      show(await ask(`api/jobs/${current}/start`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(options) }));
      say("options-error", "");
      $("job-title").focus();
      refresh();
    } catch (error) { say("options-error", error.message); }
  });
  async function act(path, method) {
    try { await ask(path, { method }); say("job-error", ""); }
    catch (error) { say("job-error", error.message); $("job").hidden = false; }
    refresh();
  }
  $("job-cancel").addEventListener("click", () => act(`api/jobs/${current}/cancel`, "POST"));
  async function remove(id) {
    if (!confirm("Delete the photos and the result of this head?")) return;
    if (id === current) open(null);
    await act(`api/jobs/${id}`, "DELETE");
    $("earlier-title").scrollIntoView({ block: "nearest" });
  }
  $("job-delete").addEventListener("click", () => remove(current));

  // Earlier jobs
  function list(jobs) {
    const shown = jobs.map((job) => ({ id: job.id, names: names(job), state: job.state, created: job.created, open: job.id === current }));
    draw("earlier", shown, () => {
      const focused = document.activeElement && document.activeElement.dataset.key;
      $("earlier").replaceChildren(...shown.map((job) => {
        const when = new Date(1000 * job.created).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
        const what = element("div", { className: "what" }, job.names, element("span", {}, `${when}: ${job.state}`));
        const look = element("button", { type: "button", "aria-label": `Open ${job.names}`, disabled: job.open, onclick: () => { open(job.id); $("job-title").focus(); } }, job.open ? "Open above" : "Open");
        const gone = element("button", { type: "button", "aria-label": `Delete ${job.names}`, onclick: () => remove(job.id) }, "Delete");
        look.dataset.key = "open-" + job.id;
        gone.dataset.key = "delete-" + job.id;
        return element("li", {}, what, look, gone);
      }));
      if (focused) { const again = document.querySelector(`[data-key="${focused}"]`); if (again) again.focus(); }
      $("earlier-none").hidden = shown.length > 0;
      $("forget").hidden = !shown.length;
    });
  }
  $("forget").addEventListener("click", async () => {
    if (!confirm("Delete the photos and results of all heads, also of those that others of this app have made?")) return;
    open(null);
    await act("api/jobs", "DELETE");
  });

  // What the app says, from time to time
  let turn = 0;
  async function refresh() {
    clearTimeout(timer);
    const own = ++turn;
    let wait = SLOW_MS;
    try {
      if (!about) { about = await ask("api/about"); offer(); }
      const jobs = await ask("api/jobs");
      if (own !== turn) return;
      list(jobs);
      if (current) {
        const job = jobs.find((one) => one.id === current) || await ask(`api/jobs/${current}`);
        if (own !== turn) return;
        show(job);
      }
      if (jobs.some((job) => BUSY.includes(job.state))) wait = FAST_MS;
      if (drawn.away) { drawn.away = false; $("upload-error").textContent = ""; }
    } catch (error) {
      if (own !== turn) return;
      if (current && /no such job/.test(error.message)) { open(null); return; }
      drawn.away = true;
      $("upload-error").textContent = error.message;
    }
    timer = setTimeout(refresh, wait);
  }
  function offer() {
    $("files").accept = about.suffixes.join(",");
    $("drop-limits").textContent += ` Up to ${about.most_files} files and ${about.most_mb} MB.`;
    $("kept").textContent = `A head is biometric data: make heads of people who agree. Photos and heads are kept in ${about.folder} until they are deleted here or by “protome app --forget”.`;
    about.presets.forEach((name, number) => {
      const box = element("input", { type: "radio", name: "preset", value: name, checked: name === "standard" });
      $("presets").append(element("label", {}, box, ` ${name} (about ${clock(about.preset_seconds[number])})`));
    });
    for (const name of about.formats) {
      const box = element("input", { type: "checkbox", name: "format", value: name, checked: name === "glb" || name === "ply" });
      $("formats").append(element("label", {}, box, ` ${name.toUpperCase()}`));
    }
    const words = { "as-photo": "as in the photos", neutral: "none (neutral)" };
    for (const name of about.expressions) $("expression").append(element("option", { value: name }, words[name] || name));
    $("expressions").hidden = about.expressions.length < 2;
    for (const side of about.textures) $("texture").append(element("option", { value: side, selected: side === 2048 }, `${side} pixels`));
  }

  addEventListener("hashchange", () => open(location.hash.slice(1) || null));
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  performance.mark("interactive");
  document.body.dataset.ready = "true";
  open(location.hash.slice(1) || null);
})();
