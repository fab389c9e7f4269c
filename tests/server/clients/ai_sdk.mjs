// What the AI SDK makes of a server: node ai_sdk.mjs FOLDER URL, where FOLDER has node_modules. Prints JSON.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [folder, baseURL] = process.argv.slice(2);
const require = createRequire(`${folder}/`);
const load = (name) => import(pathToFileURL(require.resolve(name)));
const { createOpenAICompatible } = await load("@ai-sdk/openai-compatible");
const { generateText, jsonSchema, Output, stepCountIs, streamText, tool } = await load("ai");

const provider = createOpenAICompatible({
  name: "edge", baseURL, apiKey: "any", includeUsage: true, supportsStructuredOutputs: true,
});
const model = provider("scripted");
const weather = tool({
  description: "The weather of a city",
  inputSchema: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
  execute: async ({ city }) => `foggy in ${city}`,
});
const withTool = { model, prompt: "How is it in Prague?", tools: { weather }, stopWhen: stepCountIs(3), maxRetries: 0 };
const schema = jsonSchema({
  type: "object", properties: { a: { type: "integer" } }, required: ["a"], additionalProperties: false,
});

const plain = await generateText({ model, prompt: "hi", maxRetries: 0 });
const stream = streamText({ model, prompt: "hi", maxRetries: 0 });
const pieces = [];
for await (const piece of stream.textStream) pieces.push(piece);
const called = await generateText(withTool);
const streamed = streamText(withTool);
const formed = { model, prompt: "hi", maxRetries: 0, output: Output.object({ schema }) };
const streamedText = await streamed.text;
const results = await streamed.steps;

console.log(JSON.stringify({
  plain: { text: plain.text, reasoning: plain.reasoningText, tokens: plain.usage.outputTokens },
  streamed: { pieces, reasoning: await stream.reasoningText, tokens: (await stream.usage).outputTokens },
  called: { text: called.text, results: called.steps.flatMap((step) => step.toolResults.map((each) => each.output)) },
  streamedCall: { text: streamedText, results: results.flatMap((step) => step.toolResults.map((each) => each.output)) },
  object: (await generateText(formed)).output,
}));
