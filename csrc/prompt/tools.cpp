#include "prompt/tools.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "text/json_scanner.h"

namespace q3e::chat {
namespace {

constexpr uint32_t kDeepest = 16;
constexpr std::pair<std::string_view, JsonKind> kKinds[] = {
    {"string", JsonKind::string}, {"integer", JsonKind::number}, {"number", JsonKind::number}, {"boolean", JsonKind::boolean},
    {"object", JsonKind::object}, {"array", JsonKind::array},    {"null", JsonKind::null},
};
constexpr std::array<const char*, 3> kUnions = {"anyOf", "oneOf", "allOf"};

uint8_t bits(JsonKind kind) { return static_cast<uint8_t>(kind); }

uint8_t named_kind(const Value& name) {
  if (name.is(Kind::text))
    for (const auto& [known, kind] : kKinds)
      if (known == name.str()) return bits(kind);
  return 0;
}

uint8_t kind_of(const Value& value) {
  switch (value.kind()) {
    case Kind::boolean:
      return bits(JsonKind::boolean);
    case Kind::integer:
    case Kind::large:
    case Kind::real:
      return bits(JsonKind::number);
    case Kind::text:
      return bits(JsonKind::string);
    case Kind::list:
      return bits(JsonKind::array);
    case Kind::dict:
      return bits(JsonKind::object);
    default:
      return bits(JsonKind::null);
  }
}

const Value* field(const Value* value, std::string_view name, Kind kind) {
  const Value* found = value && value->is(Kind::dict) ? value->dict().find(name) : nullptr;
  return found && found->is(kind) ? found : nullptr;
}

// What a pointer within the schema, such as `#/$defs/City`, leads to; null: nothing.
const Value* referred(std::string_view pointer, const Value& root) {
  if (!pointer.starts_with("#/")) return nullptr;
  const Value* found = &root;
  for (pointer.remove_prefix(2); found;) {
    const size_t end = pointer.find('/');
    found = found->is(Kind::dict) ? found->dict().find(pointer.substr(0, end)) : nullptr;
    if (end == pointer.npos) break;
    pointer.remove_prefix(end + 1);
  }
  return found;
}

// followed: references, each of which adds its types once.
uint8_t declared_kinds(const Value* schema, const Value& root, std::set<std::string>& followed, uint32_t depth) {
  if (!schema || !schema->is(Kind::dict) || depth > kDeepest) return 0;
  if (const Value* type = field(schema, "type", Kind::text)) return named_kind(*type);
  uint8_t found = 0;
  if (const Value* types = field(schema, "type", Kind::list)) {
    for (const Value& each : types->list().items) found |= named_kind(each);
    return found;
  }
  if (const Value* pointer = field(schema, "$ref", Kind::text)) {
    if (!followed.insert(pointer->str()).second) return 0;
    return declared_kinds(referred(pointer->str(), root), root, followed, depth + 1);
  }
  for (const char* key : kUnions)
    if (const Value* inner = field(schema, key, Kind::list))
      for (const Value& each : inner->list().items) found |= declared_kinds(&each, root, followed, depth + 1);
  if (const Value* values = field(schema, "enum", Kind::list))
    for (const Value& each : values->list().items) found |= kind_of(each);
  if (const Value* constant = schema->dict().find("const")) found |= kind_of(*constant);
  return found;
}

// A tool itself, or what it wraps; null where it is no object.
const Value* function_of(const Value& tool) {
  if (!tool.is(Kind::dict)) return nullptr;
  const Value* inner = tool.dict().find("function");
  return inner ? inner : &tool;
}

}  // namespace

std::shared_ptr<const Tools> declared_tools(const Value& tools) {
  auto out = std::make_shared<Tools>();
  if (!tools.is(Kind::list)) return out;
  for (const Value& tool : tools.list().items) {
    const Value* function = function_of(tool);
    const Value* name = field(function, "name", Kind::text);
    const Value* schema = field(function, "parameters", Kind::dict);
    const Value* properties = field(schema, "properties", Kind::dict);
    if (!name || !properties) continue;
    ToolParameters& parameters = (*out)[name->str()];
    parameters.clear();  // of two with one name the last counts
    for (const auto& [key, value] : properties->dict().items()) {
      std::set<std::string> followed;
      parameters[key.str()] = declared_kinds(&value, *schema, followed, 0);
    }
  }
  return out;
}

std::vector<std::string> function_names(const Value& tools) {
  std::vector<std::string> names;
  if (!tools.is(Kind::list)) return names;
  for (const Value& tool : tools.list().items) {
    const Value* name = field(function_of(tool), "name", Kind::text);
    if (name && std::find(names.begin(), names.end(), name->str()) == names.end()) names.push_back(name->str());
  }
  return names;
}

}  // namespace q3e::chat
