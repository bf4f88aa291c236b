// The fields of a request for music, as the server's own OpenAPI document describes them. Controls are made
// from these descriptions, so ranges, defaults and choices cannot differ from what the server accepts.

const LONG_TEXT = 1024;

/**
 * Returns the fields by name. Each is `{name, kind, default, nullable, min, max, step, maxLength, options,
 * items, description}`, where `kind` is "flag", "choice", "choices", "number", "text" or "long text".
 */
export function readFields(openapi) {
  const operation = openapi.paths["/v1/music/generate"].post;
  const schema = resolved(operation.requestBody.content["application/json"].schema, openapi);
  const fields = new Map();
  for (const [name, property] of Object.entries(schema.properties)) {
    fields.set(name, fieldOf(name, resolved(property, openapi), openapi));
  }
  return fields;
}

function resolved(schema, openapi) {
  if (!schema.$ref) return schema;
  const target =
    schema.$ref
      .split("/")
      .slice(1)
      .reduce((node, key) => node?.[key], openapi) ?? {};
  return { ...target, ...schema };
}

function fieldOf(name, property, openapi) {
  const variants = (property.anyOf ?? [property]).map((variant) => resolved(variant, openapi));
  const proper = variants.filter((variant) => variant.type !== "null");
  const { kind, variant } = kindOf(proper);
  const isOpenFlag = kind === "flag" && proper.length < variants.length;
  const lowest = variant.exclusiveMinimum ?? null;
  return {
    name,
    kind: isOpenFlag ? "choice" : kind, // yes, no, or what the model finds best
    default: property.default ?? null,
    nullable: proper.length < variants.length,
    min: variant.minimum ?? lowest,
    max: variant.maximum ?? null,
    step: variant.type === "integer" ? 1 : "any",
    maxLength: variant.maxLength ?? null,
    options: isOpenFlag ? ["true", "false"] : (variant.enum ?? variant.items?.enum ?? null),
    items: variant.items ?? null,
    description: property.description ?? "",
  };
}

/** The kind of control for the types that a field takes, and the type whose limits the control shows. */
function kindOf(variants) {
  const [first] = variants;
  if (variants.length > 1) {
    // A field with several types (a seed or a list of seeds) is written as text, which the server reads.
    const isLong =
      variants.every((variant) => ["string", "array"].includes(variant.type)) && !first.items?.maximum;
    return { kind: isLong ? "long text" : "text", variant: { type: "string" } };
  }
  if (first.type === "boolean") return { kind: "flag", variant: first };
  if (first.enum) return { kind: "choice", variant: first };
  if (first.type === "array") return { kind: first.items?.enum ? "choices" : "text", variant: first };
  if (first.type === "integer" || first.type === "number") return { kind: "number", variant: first };
  const isLong = (first.maxLength ?? 0) >= LONG_TEXT && first.format !== "uri";
  return { kind: isLong ? "long text" : "text", variant: first };
}
