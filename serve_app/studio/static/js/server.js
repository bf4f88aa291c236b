// What this server can do: its fields, models, formats and limits.

import { getJson } from "./api.js";
import { readFields } from "./schema.js";

/** The server's own descriptions, filled by `meetServer` before any view is made. */
export const server = { fields: new Map(), models: null };

/** Asks the server for its descriptions. Throws ApiError. */
export async function meetServer() {
  const [models, openapi] = await Promise.all([getJson("v1/models"), getJson("openapi.json")]);
  server.models = models;
  server.fields = readFields(openapi);
}

/** The music model of a name; the default where the name is empty. */
export function musicModel(name) {
  const { models, default_model: first } = server.models;
  return models.find((model) => model.name === (name || first)) ?? models[0];
}

/** The language model of a name; the default where the name is empty. */
export function languageModel(name) {
  const { lm_models: models, default_lm_model: first } = server.models;
  return models.find((model) => model.name === (name || first)) ?? models[0];
}

/** The names of the music models that can do a task, the default first. */
export function modelsFor(task) {
  return server.models.models.filter((model) => model.tasks.includes(task)).map((model) => model.name);
}

/** The steps that suit a music model as a part of a request; empty where the server takes them by itself. */
export function suitedSteps(name) {
  const { default_steps: steps } = musicModel(name);
  return steps === field("inference_steps").default ? {} : { inference_steps: steps };
}

/** The description of a field; a field that this server does not have is a plain text. */
export function field(name) {
  return (
    server.fields.get(name) ?? {
      name,
      kind: "text",
      default: "",
      nullable: true,
      description: "",
      options: null,
    }
  );
}
