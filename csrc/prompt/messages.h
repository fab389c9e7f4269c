// Chat messages as OpenAI's clients write them, checked and brought into the one form that templates read: what
// qwen3edge/text/messages.py does with Python's objects.
#pragma once

#include <string_view>
#include <vector>

#include "prompt/text_guard.h"
#include "template/value.h"

namespace q3e::chat {

// Each message with `role`, `content` (a text), and `reasoning_content`, `tool_calls`, `name`, `tool_call_id` if given. messages:
// JSON values. developer: what that role becomes. Throws Error(bad_argument), which names the message.
Value normal_messages(const std::vector<Value>& messages, TextGuard& guard, std::string_view developer);

// Tools as templates print them: a list of JSON objects; none for none. Throws Error(bad_argument).
Value normal_tools(const Value& tools, TextGuard& guard);

// A JSON value whose texts are guarded. Throws Error(bad_argument).
Value guarded_json(const Value& value, TextGuard& guard);

}  // namespace q3e::chat
