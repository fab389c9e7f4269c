// libFuzzer: any bytes as a chat template's syntax tree, read and run. Whatever they are, the outcome is a prompt or an Error.
#include <cstdint>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "template/interpreter.h"
#include "template/tree.h"

namespace {

using namespace q3e;
using chat::Value;

Value dict(std::vector<std::pair<const char*, Value>> items) {
  std::vector<chat::Dict::Item> all;
  for (auto& [key, value] : items) all.emplace_back(Value::text(key), std::move(value));
  return {chat::Kind::dict, std::make_shared<chat::Dict>(std::move(all))};
}

chat::Interpreter::Variables variables() {
  const Value arguments = dict({{"city", Value::text("K\xc3\xb6ln")}, {"days", Value(int64_t{3})}, {"items", Value::none()}});
  const Value call =
      dict({{"type", Value::text("function")}, {"function", dict({{"name", Value::text("f")}, {"arguments", arguments}})}});
  const auto message = [](const char* role, const char* content) {
    return dict({{"role", Value::text(role)}, {"content", Value::text(content)}});
  };
  const Value answer =
      dict({{"role", Value::text("assistant")}, {"content", Value::text("")}, {"tool_calls", Value::list({call})}});
  return {
      {"messages", Value::list({message("system", "Be kind."), message("user", " hi\n"), answer, message("tool", "rain")})},
      {"tools", Value::list({dict({{"function", dict({{"name", Value::text("f")}, {"parameters", Value(0.5)}})}})})},
      {"add_generation_prompt", Value(true)},
  };
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const chat::Interpreter::Variables known = variables();
  std::vector<uint8_t> bytes(data, data + size);
  if (size >= 5) std::memset(bytes.data() + 1, 0, 4);  // the checksum of an empty template
  try {
    const chat::Tree tree(bytes, "");
    (void)chat::Interpreter(tree, known, 100'000).run();
  } catch (const Error&) {
  }
  return 0;
}
