// Draws the API's own description: operations with an example each, and types.
(async () => {
  "use strict";
  const description = await (await fetch("api/openapi.json")).json();
  const types = description.components.schemas;
  function element(kind, text, ...children) {
    const made = document.createElement(kind);
    if (text) made.textContent = text;
    made.append(...children);
    return made;
  }
  const last = (reference) => reference.split("/").pop();
  function kind(schema) {
    if (!schema) return "";
    if (schema.$ref) return last(schema.$ref);
    if (schema.anyOf) return schema.anyOf.map(kind).join(" or ");
    if (schema.enum) return schema.enum.join(", ");
    if (schema.const) return String(schema.const);
    if (schema.type === "array") return `list of ${kind(schema.items)}`;
    if (schema.format === "binary" || schema.contentMediaType) return "file";
    return schema.type || "anything";
  }
  function table(rows) {
    const body = element("tbody");
    for (const [name, what, words] of rows) {
      const head = element("th", name);
      head.scope = "row";
      body.append(element("tr", "", head, element("td", what), element("td", words || "")));
    }
    const whole = element("div", "", element("table", "", body));
    whole.className = "scroll";
    return whole;
  }
  const fields = (schema) => Object.entries(schema.properties || {}).map(([name, own]) => {
    const fallback = own.default === undefined || own.default === null ? "" : ` Default: ${JSON.stringify(own.default)}.`;
    return [name, kind(own), (own.description || "") + fallback];
  });
  function example(path, method, body) {
    const address = `${location.origin}${path.replace("{job}", "JOB").replace("{name}", "head.glb")}`;
    const words = ["curl"];
    if (method !== "get") words.push("-X", method.toUpperCase());
    if (body && body["multipart/form-data"]) words.push("-F", "files=@front.jpg", "-F", "start=true");
    if (body && body["application/json"]) words.push("-H", "'Content-Type: application/json'", "-d", `'{"preset": "draft"}'`);
    if (path.includes("/files/") || path.endsWith("/zip")) words.push("-O", "-J");
    return element("pre", `${words.join(" ")} ${address}`);
  }
  for (const [path, methods] of Object.entries(description.paths))
    for (const [method, own] of Object.entries(methods)) {
      const name = element("span", method.toUpperCase());
      name.className = "method";
      const more = element("details", "", element("summary", "", name, ` ${path}`), element("p", own.description || own.summary));
      const parameters = (own.parameters || []).map((one) => [one.name, kind(one.schema), one.in]);
      if (parameters.length) more.append(table(parameters));
      const body = own.requestBody && own.requestBody.content;
      for (const [type, content] of Object.entries(body || {})) {
        const schema = content.schema.$ref ? types[last(content.schema.$ref)] : content.schema;
        more.append(element("p", `Body, ${type}:`), table(fields(schema)));
      }
      const answers = Object.entries(own.responses).map(([code, answer]) => [code, Object.entries(answer.content || {}).map(([type, content]) => kind(content.schema) || type).join(" or "), answer.description]);
      more.append(element("p", "Answers:"), table(answers), example(path, method, body));
      document.getElementById("operations").append(more);
    }
  for (const [name, schema] of Object.entries(types))
    document.getElementById("types").append(element("details", "", element("summary", name), element("p", schema.description || ""), table(fields(schema))));
  document.body.dataset.ready = "true";
})();
