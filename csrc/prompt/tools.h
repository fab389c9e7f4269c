// What the tools of a request declare.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "template/value.h"
#include "text/tool_call.h"

namespace q3e::chat {

// By tools' and parameters' names the types that their schemas allow. What is no function, or no schema, is passed over:
// templates show it to the model all the same. tools: a list, as JSON has it.
std::shared_ptr<const Tools> declared_tools(const Value& tools);

// The names of those that are functions, each once.
std::vector<std::string> function_names(const Value& tools);

}  // namespace q3e::chat
